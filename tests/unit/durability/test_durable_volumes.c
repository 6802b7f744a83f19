/* SPDX-License-Identifier: Apache-2.0 */

/* What guests have written, or will: volumes that are adopted, layers, Nova's disks. */

#include "durable_names.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/qcow2_backing.h"
#include "image/qcow2_writer.h"
#include "scratch.h"
#include "suite.h"
#include "volume/direct_record.h"
#include "volume/layer_store.h"
#include "volume/nova_disk.h"
#include "volume/ordinary_volume.h"
#include "volume/volume_adopt.h"

static struct scratch scratch;
static int directory_fd;
static int file_fd;

static int empty_directory(void) {
        scratch_make(&scratch);
        directory_fd = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return directory_fd;
}

static void remove_directory(bool failed) {
        (void)failed;
        (void)close(file_fd);
        (void)close(directory_fd);
        scratch_remove(&scratch);
}

static int directory_with_a_volume(void) {
        const struct ordinary_volume volume = {.empty_passphrase = true, .data_size = 4096};

        (void)empty_directory();
        file_fd = openat(directory_fd, "vm", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ordinary_volume_make(file_fd, &volume);
        return directory_fd;
}

static int adopt(struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = ordinary_secret(ORDINARY_KEY);
        struct luks2_header header = ordinary_header(file_fd);
        enum volume_adopted how;
        const struct volume_adoption adoption = {
                .directory_fd = directory_fd,
                .name = "vm",
                .fd = file_fd,
                .header_fd = file_fd,
                .header = &header,
                .key = key,
        };

        return volume_adopt(&adoption, &how, err);
}

/* The old file is the only copy of a guest's data: without the new one on the disk it keeps its name. */
static void check_volume(bool failed) {
        struct stat opened;
        struct stat named;

        if (durable_names_failed_sync() == 1) {
                ck_assert_uint_eq(durable_names_given(), 0);
                ck_assert_int_eq(fstat(file_fd, &opened), 0);
                ck_assert_int_eq(fstatat(directory_fd, "vm", &named, 0), 0);
                ck_assert_uint_eq(named.st_ino, opened.st_ino);
        }
        remove_directory(failed);
}

/* libcryptsetup has syncs of its own, but from a library of its own: they are not counted. */
START_TEST(an_adopted_volume) {
        const struct durable_trial trial = {directory_with_a_volume, adopt, check_volume, false};

        ck_assert_uint_eq(durable_names_try(&trial), 2);
}
END_TEST

static bool to_mapping;

static int directory_with_a_disk(void) {
        const struct qcow2_backing_file backing = {
                .name = to_mapping ? "/base" : "/dev/mapper/mapping",
                .format = IMAGE_CONTENT_RAW,
        };
        struct wla_error err = {0};

        (void)empty_directory();
        file_fd = openat(directory_fd, "disk", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_eq(qcow2_write_empty(file_fd, 1 << 20, &backing, &err), 0);
        return directory_fd;
}

static int rebase(struct wla_error *err) {
        const struct nova_disk_backing backing = {
                .base = "/base",
                .mapping = "/dev/mapper/mapping",
                .to_mapping = to_mapping,
                .content = IMAGE_CONTENT_RAW,
                .virtual_size = 1 << 20,
        };
        bool changed = false;

        int outcome = nova_disk_rebase(file_fd, &backing, &changed, err);
        ck_assert(changed == (outcome == 0));
        return outcome;
}

static void check_disk(bool failed) {
        if (!failed)
                ck_assert(durable_names_stored(file_fd));
        remove_directory(failed);
}

START_TEST(a_disk_of_nova) {
        const struct durable_trial trial = {directory_with_a_disk, rebase, check_disk, false};

        for (int i = 0; i < 2; i++) {
                to_mapping = i;
                ck_assert_uint_eq(durable_names_try(&trial), 3);
        }
}
END_TEST

#define VM "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"

static struct layer_store store;

static struct uuid vm(void) {
        struct wla_error err = {0};
        struct uuid uuid;

        ck_assert_int_eq(uuid_parse(VM, strlen(VM), &uuid, &err), 0);
        return uuid;
}

static int empty_store(void) {
        struct wla_error err = {0};

        (void)empty_directory();
        store = LAYER_STORE_NONE;
        ck_assert_int_eq(layer_store_open(scratch_file(&scratch, "layers"), &store, &err), 0);
        return store.fd;
}

static int make_layer(struct wla_error *err) {
        _cleanup_layer_draft_ struct layer_draft draft = LAYER_DRAFT_NONE;
        const struct uuid uuid = vm();

        if (layer_draft_new(&store, &uuid, "vda", 8192, /* ephemeral= */ false, &draft, err) < 0)
                return -1;
        ck_assert_int_eq(write(draft.disk_fd, "disk", 4), 4);
        return layer_draft_keep(&draft, draft.disk_fd, "header", 6, err);
}

static int store_with_a_layer(void) {
        struct wla_error err = {0};

        (void)empty_store();
        ck_assert_int_eq(make_layer(&err), 0);
        return store.fd;
}

static int remove_layer(struct wla_error *err) {
        const struct uuid uuid = vm();

        return layer_files_remove(&store, &uuid, "vda", err);
}

static int write_record(struct wla_error *err) {
        const struct uuid header = vm();

        return direct_record_write(&store, &header, store.fd, err);
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *at) {
        (void)facts;
        (void)type;
        (void)at;
        return remove(path);
}

static void remove_store(bool failed) {
        (void)failed;
        layer_store_close(&store);
        (void)close(directory_fd);
        ck_assert_int_eq(nftw(scratch.path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

START_TEST(layers_and_records_of_them) {
        const struct durable_trial make = {empty_store, make_layer, remove_store, true};
        const struct durable_trial end = {store_with_a_layer, remove_layer, remove_store, true};
        const struct durable_trial record = {empty_store, write_record, remove_store, false};

        ck_assert_uint_eq(durable_names_try(&make), 6);
        ck_assert_uint_eq(durable_names_try(&end), 1);
        ck_assert_uint_eq(durable_names_try(&record), 3);
}
END_TEST

SUITE_MAIN("durability/volumes", an_adopted_volume, a_disk_of_nova, layers_and_records_of_them)
