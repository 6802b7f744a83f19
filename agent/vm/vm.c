/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/vm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"

static const char *const state_names[] = {
        [VM_OPENING] = "opening",   [VM_OPEN] = "open",         [VM_RUNNING] = "running",
        [VM_STOPPING] = "stopping", [VM_EXPECTED] = "expected",
};

const char *vm_state_name(enum vm_state state) {
        return state_names[state];
}

bool lease_held(const struct lease *lease) {
        return lease->image || lease->layer;
}

bool vm_is_expected(const struct vm *vm) {
        for (size_t i = 0; vm->migrating && i < vm->disk_count; i++)
                if (vm->disks[i]->arriving)
                        return true;
        return false;
}

bool vm_disk_held(const struct vm_disk *disk) {
        const struct vm *vm = disk->vm;

        for (size_t i = 0; disk->mode == DISK_SECRET && i < vm->disk_count; i++)
                if (uuid_equal(&vm->disks[i]->secret, &disk->secret) &&
                    lease_held(&vm->disks[i]->lease))
                        return true;
        return lease_held(&disk->lease);
}

void lease_end(struct lease *lease) {
        lease->layer_watch = sd_event_source_disable_unref(lease->layer_watch);
        lease->image_watch = sd_event_source_disable_unref(lease->image_watch);
        /* The layer lies over the image. */
        lease->layer = volume_session_free(lease->layer);
        lease->image = volume_session_free(lease->image);
        lease->until_usec = 0;
}

struct vm *vm_new(const struct uuid *uuid, const char *name) {
        struct vm *vm = calloc(1, sizeof(*vm));

        if (!vm)
                return NULL;
        vm->uuid = *uuid;
        vm_set_name(vm, name);
        vm_set_state(vm, VM_OPENING);
        return vm;
}

struct vm *vm_free(struct vm *vm) {
        if (!vm)
                return NULL;

        while (vm->disk_count > 0)
                vm_remove_disk(vm, vm->disks[vm->disk_count - 1]);
        free(vm);
        return NULL;
}

void vm_set_state(struct vm *vm, enum vm_state state) {
        /* Who says again that it runs means the same start, by which its reports are named. */
        if (state != VM_RUNNING || vm->state != VM_RUNNING)
                vm->since_sec = (uint64_t)time(NULL);
        vm->state = state;
        vm->since_reconnect = false;
        vm->changed_usec = clock_now_usec();
}

void vm_set_name(struct vm *vm, const char *name) {
        (void)snprintf(vm->name, sizeof(vm->name), "%s", name);
}

struct vm_disk *vm_find_disk(const struct vm *vm, const char *target) {
        for (size_t i = 0; i < vm->disk_count; i++)
                if (strcmp(vm->disks[i]->target, target) == 0)
                        return vm->disks[i];
        return NULL;
}

struct vm_disk *vm_add_disk(struct vm *vm, const char *target) {
        struct vm_disk *old = vm_find_disk(vm, target);
        struct vm_disk *disk;

        if (!old && vm->disk_count == DOMAIN_DISKS_MAX)
                return NULL;
        disk = calloc(1, sizeof(*disk));
        if (!disk)
                return NULL;
        if (old)
                vm_remove_disk(vm, old);

        disk->vm = vm;
        (void)snprintf(disk->target, sizeof(disk->target), "%s", target);
        vm->disks[vm->disk_count++] = disk;
        return disk;
}

void vm_disk_set_name(struct vm_disk *disk) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = disk->vm->uuid};

        if (disk->mode == DISK_SECRET)
                return;
        if (disk->mode == DISK_NOVA)
                name = (struct volume_name){.kind = VOLUME_IMAGE, .uuid = disk->header};
        else
                memcpy(name.target, disk->target, sizeof(name.target));
        volume_name_write(&name, disk->name);
}

void vm_remove_disk(struct vm *vm, struct vm_disk *disk) {
        size_t at = 0;

        while (vm->disks[at] != disk)
                at++;
        lease_end(&disk->lease);
        free(disk);
        vm->disk_count--;
        for (; at < vm->disk_count; at++)
                vm->disks[at] = vm->disks[at + 1];
}

static int write_text(struct buf *json, const char *before, const char *text,
                      struct wla_error *err) {
        if (buf_append_text(json, before, err) < 0)
                return -1;
        return json_write_string(json, text, strlen(text), err);
}

static int write_secret(const struct vm_disk *disk, struct buf *json, struct wla_error *err) {
        if (write_text(json, "{\"target\":", disk->target, err) < 0 ||
            write_text(json, ",\"mode\":", disk_mode_name(disk->mode), err) < 0 ||
            write_text(json, ",\"secret\":", disk->secret.text, err) < 0 ||
            write_text(json, ",\"key_id\":", disk->key_id, err) < 0)
                return -1;
        return buf_printf(json, err, ",\"held\":%s}", vm_disk_held(disk) ? "true" : "false");
}

/* Nothing when the image has its key without one. */
static int write_flavor(const struct flavor_verdict *flavor, struct buf *json,
                        struct wla_error *err) {
        if (!flavor->present)
                return 0;
        return buf_printf(json, err,
                          ",\"flavor\":{\"id\":\"%s\",\"image\":\"%s\",\"encryption_required\":%s,"
                          "\"integrity_enforced\":%s,\"signature_verified\":%s,"
                          "\"digest_verified\":%s}",
                          flavor->flavor.text, flavor->image.text,
                          flavor->encryption_required ? "true" : "false",
                          flavor->integrity_enforced ? "true" : "false",
                          flavor->signature_verified ? "true" : "false",
                          flavor->digest_verified ? "true" : "false");
}

static int write_disk(const struct vm_disk *disk, struct buf *json, struct wla_error *err) {
        if (disk->mode == DISK_SECRET)
                return write_secret(disk, json, err);
        if (write_text(json, "{\"target\":", disk->target, err) < 0 ||
            write_text(json, ",\"image\":", disk->image, err) < 0 ||
            write_text(json, ",\"header_uuid\":", disk->header.text, err) < 0 ||
            write_text(json, ",\"mode\":", disk_mode_name(disk->mode), err) < 0 ||
            write_text(json, ",\"key_id\":", disk->key_id, err) < 0 ||
            (disk->mode == DISK_NOVA &&
             write_text(json, ",\"nova_image\":", disk->nova_image.text, err) < 0) ||
            write_flavor(&disk->flavor, json, err) < 0 ||
            (disk->flavor.present &&
             buf_printf(json, err, ",\"reported\":%s", disk->reported ? "true" : "false") < 0))
                return -1;
        return buf_printf(
                json, err, ",\"device\":\"%s%s\",\"by_hand\":%s,\"arriving\":%s,\"held\":%s}",
                VOLUME_DEVICE_ROOT, disk->name, disk->by_hand ? "true" : "false",
                disk->arriving ? "true" : "false", lease_held(&disk->lease) ? "true" : "false");
}

int vm_write_json(const struct vm *vm, struct buf *json, struct wla_error *err) {
        if (write_text(json, "{\"uuid\":", vm->uuid.text, err) < 0 ||
            write_text(json, ",\"name\":", vm->name, err) < 0 ||
            write_text(json, ",\"state\":", vm_state_name(vm->state), err) < 0 ||
            buf_printf(json, err,
                       ",\"since\":%" PRIu64 ",\"since_reconnect\":%s,\"migrating\":%s,\"disks\":[",
                       vm->since_sec, vm->since_reconnect ? "true" : "false",
                       vm->migrating ? "true" : "false") < 0)
                return -1;
        for (size_t i = 0; i < vm->disk_count; i++)
                if ((i > 0 && buf_append_text(json, ",", err) < 0) ||
                    write_disk(vm->disks[i], json, err) < 0)
                        return -1;
        return buf_append_text(json, "]}", err);
}
