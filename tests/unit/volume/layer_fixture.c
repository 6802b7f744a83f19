/* SPDX-License-Identifier: Apache-2.0 */
#include "layer_fixture.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "fail_allocation.h"
#include "fail_call.h"
#include "image/qcow2_backing.h"
#include "image/qcow2_writer.h"
#include "image/sector_cipher.h"
#include "image/volume_key.h"
#include "volume/device_mapper.h"

#define VIRTUAL_SIZE 65536u
#define WRITTEN_AT   (4u * QCOW2_CLUSTER_SIZE) /* the L2 table or data: nobody here looks at it */

static const char written[] = "what a guest has written";

struct fixture_device fixture_device = {.disk_fd = -1, .shown_fd = -1};

int __wrap_mapping_make(const struct mapping_plan *plan, const struct wla_secret *key,
                        struct mapping *ret, struct wla_error *err);
int __wrap_dm_device_find(const char *name, struct dm_device *ret, struct wla_error *err);

static void copy_sectors(int from, int to, enum sector_direction direction) {
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        uint8_t sector[IMAGE_SECTOR_SIZE];
        struct wla_error err = {0};

        ck_assert_int_eq(
                sector_cipher_new(fixture_device.key, IMAGE_SECTOR_SIZE, direction, &cipher, &err),
                0);
        for (off_t at = 0; pread(from, sector, sizeof(sector), at) == sizeof(sector);
             at += IMAGE_SECTOR_SIZE) {
                ck_assert_int_eq(
                        sector_cipher_run(cipher, (uint64_t)at, sector, sizeof(sector), &err), 0);
                ck_assert_int_eq(pwrite(to, sector, sizeof(sector), at), sizeof(sector));
        }
}

/* Nothing of the test's own is counted. */
static int show(const struct mapping_plan *plan, const struct wla_secret *key) {
        fail_call_pause(true);
        fail_allocation_pause(true);
        fixture_device.key = key;
        fixture_device.disk_fd = dup(plan->data_fd);
        fixture_device.shown_fd = open(fixture_device.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
                                       0600);
        copy_sectors(fixture_device.disk_fd, fixture_device.shown_fd, SECTOR_DECRYPT);
        int fd = open(fixture_device.path, O_RDONLY | O_CLOEXEC);
        fail_allocation_pause(false);
        fail_call_pause(false);
        return fd;
}

static void unmap(void) {
        if (fixture_device.disk_fd < 0)
                return;
        copy_sectors(fixture_device.shown_fd, fixture_device.disk_fd, SECTOR_ENCRYPT);
        file_closep(&fixture_device.disk_fd);
        file_closep(&fixture_device.shown_fd);
}

int __wrap_mapping_make(const struct mapping_plan *plan, const struct wla_secret *key,
                        struct mapping *ret, struct wla_error *err) {
        if (fail_call("mapping_make"))
                return wla_fail(err, WLA_E_BUSY, "it cannot be mapped");
        if (crypt_volume_check_key(plan->volume, key, err) < 0)
                return -1;
        ret->fd = show(plan, key);
        return 0;
}

int __wrap_dm_device_find(const char *name, struct dm_device *ret, struct wla_error *err) {
        (void)name;
        if (fail_call("dm_device_find"))
                return wla_fail(err, WLA_E_SYSTEM, "device-mapper does not answer");
        *ret = (struct dm_device){.exists = fixture_device.exists};
        return 0;
}

void fixture_set_up(struct layer_fixture *fixture) {
        *fixture = (struct layer_fixture){0};
        if (!wla_secret_heap_locked())
                ck_assert_int_eq(wla_secret_pages_init(true, &fixture->err), 0);
        (void)snprintf(fixture->root, sizeof(fixture->root), "/var/tmp/wlagent-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(fixture->root));
        (void)snprintf(fixture->layers, sizeof(fixture->layers), "%s/layers", fixture->root);
        (void)snprintf(fixture_device.path, sizeof(fixture_device.path), "%s/shown", fixture->root);
        fixture->config.volumes.layer_directory = fixture->layers;
        ck_assert_int_eq(volume_key_generate(&fixture->key, &fixture->err), 0);
}

void fixture_tear_down(struct layer_fixture *fixture) {
        char *const arguments[] = {(char[]){"rm"}, (char[]){"-rf"}, fixture->root, NULL};

        fixture->key = wla_secret_free(fixture->key);
        pid_t pid = fork();
        if (pid == 0)
                execv("/bin/rm", arguments);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

const char *fixture_path(const struct layer_fixture *fixture, const char *name) {
        static char path[256];

        (void)snprintf(path, sizeof(path), "%s/" FIXTURE_VM "/%s", fixture->layers, name);
        return path;
}

/* A connection and what ends it, as session_run() has them. */
void fixture_begin(struct layer_fixture *fixture) {
        fixture->err = (struct wla_error){0};
        fixture->reply = (struct volumed_reply){0};
        fixture->request = (struct volume_request){.target = "vda"};
        ck_assert_int_eq(
                uuid_parse(FIXTURE_VM, strlen(FIXTURE_VM), &fixture->request.vm, &fixture->err), 0);
        struct layer_request *layer = &fixture->request.layer;
        ck_assert_int_eq(
                uuid_parse(FIXTURE_IMAGE, strlen(FIXTURE_IMAGE), &layer->image, &fixture->err), 0);
        layer->backing_content = IMAGE_CONTENT_RAW;
        layer->virtual_size = VIRTUAL_SIZE;
        memset(&layer->wrapped, 0x5a, sizeof(layer->wrapped));
        fixture->session = (struct session){
                .fd = -1,
                .config = &fixture->config,
                .image = IMAGE_FILE_NONE,
                .source_fd = -1,
                .store = LAYER_STORE_NONE,
                .layer = LAYER_FILES_NONE,
                .sealed = SEALED_HEADER_NONE,
                .mapping = MAPPING_NONE,
        };
}

void fixture_end(struct layer_fixture *fixture) {
        struct session *session = &fixture->session;

        mapping_close(&session->mapping);
        unmap();
        sealed_header_clear(&session->sealed);
        layer_files_close(&session->layer);
        layer_store_close(&session->store);
}

int fixture_take(struct layer_fixture *fixture, step_function function) {
        struct session_step step = {
                .request = &fixture->request,
                .key = fixture->key,
                .attached_fd = -1,
                .reply = &fixture->reply,
                .reply_fd = -1,
        };

        return function(&fixture->session, &step, &fixture->err);
}

int fixture_inspect_and(struct layer_fixture *fixture, step_function function) {
        return fixture_take(fixture, session_inspect_layer) < 0 ? -1
                                                                : fixture_take(fixture, function);
}

int fixture_open_keeping(struct session *session, struct session_step *step,
                         struct wla_error *err) {
        struct volume_request request = *step->request;
        struct session_step keeping = *step;

        request.layer.keeps_places = true;
        keeping.request = &request;
        return session_open_layer(session, &keeping, err);
}

void fixture_succeed(struct layer_fixture *fixture, step_function function) {
        fixture_begin(fixture);
        ck_assert_msg(fixture_inspect_and(fixture, function) == 0, "%s",
                      wla_error_text(&fixture->err));
        ck_assert_int_eq(fixture->session.state, SESSION_OPEN);
        fixture_end(fixture);
}

/* What the person who reads it needs. */
void fixture_check_refusal(const struct layer_fixture *fixture, const char *call) {
        const char *text = wla_error_text(&fixture->err);

        ck_assert_msg(strstr(text, "layer of VM " FIXTURE_VM ", disk vda: ") == text, "%s: %s",
                      call, text);
        ck_assert_msg(fixture->err.hint != NULL, "%s: %s", call, text);
        ck_assert_int_ne(fixture->session.state, SESSION_OPEN);
        ck_assert_int_eq(fixture->session.mapping.fd, -1);
}

struct layer_room fixture_room(void) {
        struct layer_room room;
        struct wla_error err = {0};

        ck_assert_int_eq(layer_room_for(VIRTUAL_SIZE, &room, &err), 0);
        return room;
}

static void write_as_guest(void) {
        ck_assert_int_eq(pwrite(fixture_device.shown_fd, written, sizeof(written), WRITTEN_AT),
                         sizeof(written));
}

/* A layer as an older version has left it: short, of version 2, with something in it. */
void fixture_make_older(struct layer_fixture *fixture) {
        fixture_begin(fixture);
        ck_assert_msg(fixture_inspect_and(fixture, session_create_layer) == 0, "%s",
                      wla_error_text(&fixture->err));
        write_as_guest();
        fixture_end(fixture);
        ck_assert_int_eq(truncate(fixture_path(fixture, "vda/disk"), (off_t)fixture_room().least),
                         0);
}

/* Everything that was in it is, and it opens. */
void fixture_check_whole(struct layer_fixture *fixture, uint32_t version) {
        uint8_t head[QCOW2_BACKING_SPAN];
        char text[sizeof(written)];
        struct qcow2_backing below;

        fixture_begin(fixture);
        ck_assert_msg(fixture_inspect_and(fixture, session_open_layer) == 0, "%s",
                      wla_error_text(&fixture->err));
        ck_assert_int_eq(pread(fixture_device.shown_fd, text, sizeof(text), WRITTEN_AT),
                         sizeof(text));
        ck_assert_str_eq(text, written);
        ck_assert_int_eq(pread(fixture_device.shown_fd, head, sizeof(head), 0), sizeof(head));
        ck_assert_int_eq(qcow2_backing_read(head, sizeof(head), &below, &fixture->err), 0);
        ck_assert(version == 0 || below.version == version);
        ck_assert_str_eq(below.name, VOLUME_DEVICE_ROOT "wlagent-image-" FIXTURE_IMAGE);
        fixture_end(fixture);
}

void fixture_remove_layer(struct layer_fixture *fixture) {
        fixture_begin(fixture);
        ck_assert_msg(fixture_take(fixture, session_remove_layer) == 0, "%s",
                      wla_error_text(&fixture->err));
        fixture_end(fixture);
        ck_assert_int_lt(access(fixture_path(fixture, "."), F_OK), 0);
}

off_t fixture_length(const struct layer_fixture *fixture) {
        struct stat status;

        ck_assert_int_eq(stat(fixture_path(fixture, "vda/disk"), &status), 0);
        return status.st_size;
}
