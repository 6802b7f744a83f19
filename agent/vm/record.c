/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json_object.h"
#include "base/log.h"

#define DIRECTORY     "vms"
#define SUFFIX        ".json"
#define PARTIAL       ".new-" /* as file_write() begins its temporary names */
#define ASIDE_PREFIX  ".bad-"
#define RECORD_MAX    (256u * 1024u)
#define FILE_NAME_MAX (UUID_TEXT_SIZE + sizeof(SUFFIX))

struct record_store {
        int fd;
};

int record_store_new(const char *runtime_directory, struct record_store **ret,
                     struct wla_error *err) {
        struct record_store *store = calloc(1, sizeof(*store));
        char path[4096];

        if (!store)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        (void)snprintf(path, sizeof(path), "%s/" DIRECTORY, runtime_directory);
        if (file_open_directory(path, /* create= */ true, 0700, &store->fd, err) < 0) {
                free(store);
                return wla_wrap(err, "the records of VMs");
        }
        *ret = store;
        return 0;
}

struct record_store *record_store_free(struct record_store *store) {
        if (store) {
                file_closep(&store->fd);
                free(store);
        }
        return NULL;
}

static void name_file(const struct uuid *vm, char to[FILE_NAME_MAX]) {
        (void)snprintf(to, FILE_NAME_MAX, "%s" SUFFIX, vm->text);
}

int record_write(const struct record_store *store, const struct vm *vm, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(RECORD_MAX);
        char name[FILE_NAME_MAX];

        name_file(&vm->uuid, name);
        if (vm_write_json(vm, &json, err) < 0 || buf_append_text(&json, "\n", err) < 0 ||
            file_write(store->fd, name, json.data, json.size, 0600, /* replace= */ true, err) < 0)
                return wla_wrap(err, "the record of VM %s", vm->uuid.text);
        return 0;
}

int record_remove(const struct record_store *store, const struct uuid *vm, struct wla_error *err) {
        char name[FILE_NAME_MAX];

        name_file(vm, name);
        if (unlinkat(store->fd, name, 0) < 0 && errno != ENOENT)
                return wla_fail_errno(err, errno, "cannot remove the record of VM %s", vm->text);
        return 0;
}

static int read_text(const struct json_value *object, const char *name, char *to, size_t size,
                     struct wla_error *err) {
        const struct json_value value = json_member(object, name);

        if (json_string_copy(&value, to, size, err) < 0)
                return wla_wrap(err, "member \"%s\"", name);
        return 0;
}

static int read_uuid(const struct json_value *object, const char *name, struct uuid *ret,
                     struct wla_error *err) {
        char text[UUID_TEXT_SIZE];

        if (read_text(object, name, text, sizeof(text), err) < 0)
                return -1;
        if (uuid_parse(text, strlen(text), ret, err) < 0)
                return wla_wrap(err, "member \"%s\"", name);
        return 0;
}

static int check_device(const struct json_value *object, const struct vm_disk *disk,
                        struct wla_error *err) {
        char device[sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE];
        size_t root = strlen(VOLUME_DEVICE_ROOT);

        if (read_text(object, "device", device, sizeof(device), err) < 0)
                return -1;
        if (strncmp(device, VOLUME_DEVICE_ROOT, root) != 0 ||
            strcmp(device + root, disk->name) != 0)
                return wla_fail(err, WLA_E_INPUT, "member \"device\" is not that of the disk");
        return 0;
}

/* Two of the modes are none that a definition can ask for. */
static int read_mode(const struct json_value *object, struct vm_disk *disk, struct wla_error *err) {
        char mode[16];

        if (read_text(object, "mode", mode, sizeof(mode), err) < 0)
                return -1;
        if (strcmp(mode, disk_mode_name(DISK_SECRET)) == 0) {
                disk->mode = DISK_SECRET;
                return read_uuid(object, "secret", &disk->secret, err);
        }
        if (strcmp(mode, disk_mode_name(DISK_NOVA)) != 0)
                return disk_mode_parse(mode, &disk->mode, err);
        disk->mode = DISK_NOVA;
        return read_uuid(object, "nova_image", &disk->nova_image, err);
}

/* Of a disk of Nova's it names the mapping. */
static int read_header_uuid(const struct json_value *object, struct vm_disk *disk,
                            struct wla_error *err) {
        const struct json_value value = json_member(object, "header_uuid");

        if (disk->mode != DISK_NOVA && json_string_is(&value, ""))
                return 0;
        return read_uuid(object, "header_uuid", &disk->header, err);
}

static int read_flag(const struct json_value *object, const char *name, bool *ret,
                     struct wla_error *err) {
        const struct json_value value = json_member(object, name);

        if (value.type != JSON_TRUE && value.type != JSON_FALSE)
                return wla_fail(err, WLA_E_INPUT, "member \"%s\" is neither true nor false", name);
        *ret = value.type == JSON_TRUE;
        return 0;
}

static int read_flavor(const struct json_value *object, struct flavor_verdict *flavor,
                       struct wla_error *err) {
        const struct json_value member = json_member(object, "flavor");

        if (member.type == JSON_ABSENT)
                return 0;
        flavor->present = true;
        if (read_uuid(&member, "id", &flavor->flavor, err) < 0 ||
            read_uuid(&member, "image", &flavor->image, err) < 0 ||
            read_flag(&member, "encryption_required", &flavor->encryption_required, err) < 0 ||
            read_flag(&member, "integrity_enforced", &flavor->integrity_enforced, err) < 0 ||
            read_flag(&member, "signature_verified", &flavor->signature_verified, err) < 0 ||
            read_flag(&member, "digest_verified", &flavor->digest_verified, err) < 0)
                return wla_wrap(err, "member \"flavor\"");
        return 0;
}

static int fill_disk(const struct json_value *object, struct vm_disk *disk, struct wla_error *err) {
        disk->by_hand = json_member(object, "by_hand").type == JSON_TRUE;
        disk->arriving = json_member(object, "arriving").type == JSON_TRUE;
        disk->reported = json_member(object, "reported").type == JSON_TRUE;
        if (read_mode(object, disk, err) < 0)
                return -1;
        if (disk->mode == DISK_SECRET)
                return read_text(object, "key_id", disk->key_id, sizeof(disk->key_id), err);
        if (read_text(object, "image", disk->image, sizeof(disk->image), err) < 0 ||
            read_header_uuid(object, disk, err) < 0 ||
            read_flavor(object, &disk->flavor, err) < 0 ||
            read_text(object, "key_id", disk->key_id, sizeof(disk->key_id), err) < 0)
                return -1;
        vm_disk_set_name(disk);
        return check_device(object, disk, err);
}

static int read_disk(const struct json_value *object, struct vm *vm, struct wla_error *err) {
        char target[DISK_TARGET_SIZE];

        if (read_text(object, "target", target, sizeof(target), err) < 0)
                return -1;
        if (!disk_target_valid(target, strlen(target)) || vm_find_disk(vm, target))
                return wla_fail(err, WLA_E_INPUT, "member \"target\" is not that of a disk");

        struct vm_disk *disk = vm_add_disk(vm, target);
        if (!disk)
                return wla_fail(err, WLA_E_BUSY, "there is no room for a disk");
        return fill_disk(object, disk, err);
}

static int read_state(const struct json_value *object, enum vm_state *ret, struct wla_error *err) {
        const struct json_value value = json_member(object, "state");

        for (enum vm_state state = 0; state < _VM_STATE_MAX; state++)
                if (json_string_is(&value, vm_state_name(state))) {
                        *ret = state;
                        return 0;
                }
        return wla_fail(err, WLA_E_INPUT, "member \"state\" is not a state");
}

static int fill_vm(const struct json_value *object, struct vm *vm, struct wla_error *err) {
        const struct json_value since = json_member(object, "since");
        const struct json_value disks = json_member(object, "disks");
        struct json_value disk;

        vm->since_reconnect = json_member(object, "since_reconnect").type == JSON_TRUE;
        vm->migrating = json_member(object, "migrating").type == JSON_TRUE;
        if (read_text(object, "name", vm->name, sizeof(vm->name), err) < 0 ||
            read_state(object, &vm->state, err) < 0 ||
            json_unsigned(&since, INT64_MAX, &vm->since_sec, err) < 0)
                return -1;
        for (size_t at = 0; json_next_element(&disks, &at, &disk);)
                if (read_disk(&disk, vm, err) < 0)
                        return wla_wrap(err, "a disk");
        return 0;
}

static int parse(const struct buf *json, const struct uuid *uuid, struct vm **ret,
                 struct wla_error *err) {
        struct json_value object;
        struct uuid inside;

        if (json_check((const char *)json->data, json->size, &object, err) < 0 ||
            read_uuid(&object, "uuid", &inside, err) < 0)
                return -1;
        if (!uuid_equal(uuid, &inside))
                return wla_fail(err, WLA_E_INPUT, "it is of another VM than its name says");

        struct vm *vm = vm_new(uuid, "");
        if (!vm)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (fill_vm(&object, vm, err) < 0) {
                vm_free(vm);
                return -1;
        }
        *ret = vm;
        return 0;
}

static void set_aside(const struct record_store *store, const char *name,
                      const struct wla_error *cause) {
        char aside[NAME_MAX + sizeof(ASIDE_PREFIX)];

        (void)snprintf(aside, sizeof(aside), ASIDE_PREFIX "%s", name);
        bool moved = renameat(store->fd, name, store->fd, aside) == 0;
        log_line(LOG_WARNING, "the record %s of a VM is not understood and %s: %s", name,
                 moved ? "set aside" : "left alone", wla_error_text(cause));
}

static int read_one(const struct record_store *store, const char *name, const struct uuid *uuid,
                    struct vm **ret, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(RECORD_MAX);

        if (file_read(store->fd, name, &json, err) < 0)
                return -1;
        return parse(&json, uuid, ret, err);
}

static bool names_record(const char *name, struct uuid *ret) {
        size_t size = strlen(name);
        size_t suffix = strlen(SUFFIX);
        struct wla_error ignored = {0};

        return size > suffix && strcmp(name + size - suffix, SUFFIX) == 0 &&
               uuid_parse(name, size - suffix, ret, &ignored) == 0;
}

/* Memory that is short now says nothing about the record. */
static int take_entry(const struct record_store *store, const char *name,
                      void (*found)(void *userdata, struct vm *vm), void *userdata,
                      struct wla_error *err) {
        struct vm *vm = NULL;
        struct uuid uuid;

        if (strncmp(name, PARTIAL, strlen(PARTIAL)) == 0)
                (void)unlinkat(store->fd, name, 0);
        if (!names_record(name, &uuid))
                return 0;
        if (read_one(store, name, &uuid, &vm, err) == 0) {
                found(userdata, vm);
                return 0;
        }
        if (err->code == WLA_E_BUSY)
                return wla_wrap(err, "the record %s of a VM", name);
        set_aside(store, name, err);
        return 0;
}

int record_read_all(const struct record_store *store, void (*found)(void *userdata, struct vm *vm),
                    void *userdata, struct wla_error *err) {
        int fd = openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;

        if (!directory) {
                int saved = errno;

                file_closep(&fd);
                return wla_fail_errno(err, saved, "cannot list the records of VMs");
        }
        int outcome = 0;
        for (struct dirent *entry = readdir(directory); entry && outcome == 0;
             entry = readdir(directory))
                outcome = take_entry(store, entry->d_name, found, userdata, err);
        (void)closedir(directory);
        return outcome;
}
