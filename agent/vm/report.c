/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/report.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metrics.h"

static const char *name_of(const struct vm *vm) {
        return vm->name[0] != '\0' ? vm->name : vm->uuid.text;
}

static void report_disk(int priority, const char *id, const struct vm_disk *disk,
                        const char *message) {
        char since[24];

        (void)snprintf(since, sizeof(since), "%" PRIu64, disk->vm->since_sec);
        const struct log_field fields[] = {
                {"WLA_VM_UUID", disk->vm->uuid.text},
                {"WLA_VM_NAME", disk->vm->name},
                {"WLA_TARGET", disk->target},
                {"WLA_IMAGE", disk->image},
                {"WLA_HEADER_UUID", disk->header.text},
                {"WLA_MODE", disk_mode_name(disk->mode)},
                {"WLA_KEY_ID", disk->key_id},
                {"WLA_DEVICE", disk->name},
                {"WLA_FLAVOR", disk->flavor.present ? disk->flavor.flavor.text : NULL},
                {"WLA_SECRET", disk->mode == DISK_SECRET ? disk->secret.text : NULL},
                {"WLA_SINCE", since},
                {NULL, NULL},
        };

        log_event(priority, id, fields, "VM %s: disk %s %s", name_of(disk->vm), disk->target,
                  message);
}

void report_opened(const struct vm_disk *disk) {
        report_disk(LOG_INFO, LOG_ID_VOLUME_OPENED, disk, "is open");
}

#define USEC_TEXT_SIZE 24u

static const char *usec_text(uint64_t usec, char to[USEC_TEXT_SIZE]) {
        (void)snprintf(to, USEC_TEXT_SIZE, "%" PRIu64, usec);
        return to;
}

void report_launch(const struct vm *vm, uint64_t duration_usec, const struct launch_times *times,
                   const struct wla_error *err) {
        char texts[4][USEC_TEXT_SIZE];

        metrics_count(METRIC_VM_LAUNCHES, err ? err->code : WLA_OK, 0);
        metrics_observe_usec(METRIC_VM_LAUNCH_SECONDS, duration_usec);
        if (err) {
                report_refused(&vm->uuid, vm->name, err);
                return;
        }

        const struct log_field fields[] = {
                {"WLA_VM_UUID", vm->uuid.text},
                {"WLA_VM_NAME", vm->name},
                {"WLA_DURATION_USEC", usec_text(duration_usec, texts[0])},
                {"WLA_INSPECT_USEC", usec_text(times->inspect_usec, texts[1])},
                {"WLA_KEY_USEC", usec_text(times->key_usec, texts[2])},
                {"WLA_OPEN_USEC", usec_text(times->open_usec, texts[3])},
                {NULL, NULL},
        };
        log_event(LOG_INFO, LOG_ID_LAUNCH_ALLOWED, fields, "the disks of VM %s are open",
                  name_of(vm));
}

void report_refused(const struct uuid *vm, const char *name, const struct wla_error *err) {
        char reason[1024];
        const struct log_field fields[] = {
                {"WLA_VM_UUID", vm ? vm->text : NULL},
                {"WLA_VM_NAME", name},
                {"WLA_ERROR_CODE", wla_code_token(err->code)},
                {NULL, NULL},
        };

        wla_error_format(err, reason, sizeof(reason));
        log_event(LOG_WARNING, LOG_ID_LAUNCH_REFUSED, fields, "the disks of VM %s stay closed: %s",
                  name && name[0] != '\0' ? name
                  : vm                    ? vm->text
                                          : "without a name",
                  reason);
}

void report_running(const struct vm *vm) {
        for (size_t i = 0; i < vm->disk_count; i++)
                report_disk(LOG_NOTICE, LOG_ID_INSTANCE_RUNNING, vm->disks[i], "is in use");
}

void report_closed(const struct vm *vm) {
        for (size_t i = 0; i < vm->disk_count; i++)
                report_disk(LOG_INFO, LOG_ID_VOLUME_CLOSED, vm->disks[i], "is closed");
}

void report_lease_ended(const struct vm_disk *disk, const char *why) {
        report_disk(LOG_WARNING, LOG_ID_LEASE_ENDED, disk, why);
}

void report_orphan(const struct volume_name *layer, bool removed) {
        const struct log_field fields[] = {
                {"WLA_VM_UUID", layer->uuid.text},
                {"WLA_TARGET", layer->target},
                {NULL, NULL},
        };

        log_event(LOG_NOTICE, removed ? LOG_ID_ORPHAN_REMOVED : LOG_ID_ORPHAN_FOUND, fields,
                  "the layer of disk %s of VM %s, which libvirt does not know, %s", layer->target,
                  layer->uuid.text, removed ? "was removed" : "has nobody who owns it");
}
