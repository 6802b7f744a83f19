/* SPDX-License-Identifier: Apache-2.0 */

/* Volumes without a start: for disks that are plugged into a running VM, which libvirt tells no hook, and
 * for maintenance. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json_object.h"
#include "vm/service_call.h"
#include "wlagent/control.h"

#define HOLD_SECONDS_MAX 86400u

/* How long the kernel may take to remove a mapping that we have just let go. */
#define REMOVAL_PATIENCE   (2 * USEC_PER_SEC)
#define REMOVAL_PAUSE_NSEC 50000000

static const char hint_list[] = "'wlagent volume list' shows what is open";

static int read_text(const struct json_value *value, const char *name, char *to, size_t size,
                     struct wla_error *err) {
        if (json_string_copy(value, to, size, err) < 0)
                return wla_wrap(err, "%s", name);
        return 0;
}

static int read_path(const struct json_value *value, const char *name, char to[VOLUMED_PATH_SIZE],
                     struct wla_error *err) {
        if (read_text(value, name, to, VOLUMED_PATH_SIZE, err) < 0)
                return -1;
        if (!disk_path_valid(to, strlen(to)))
                return wla_fail(err, WLA_E_INPUT, "%s is no absolute path in canonical form", name);
        return 0;
}

static int read_line(const struct json_value *object, struct uuid *ret_vm,
                     struct protected_disk *line, uint64_t *ret_hold_sec, struct wla_error *err) {
        struct json_value vm;
        struct json_value target;
        struct json_value image;
        struct json_value mode;
        struct json_value header;
        struct json_value key;
        struct json_value hold;
        const struct json_field fields[] = {
                {"vm", &vm, JSON_STRING, false},
                {"target", &target, JSON_STRING, false},
                {"image", &image, JSON_STRING, false},
                {"mode", &mode, JSON_STRING, false},
                {"header", &header, JSON_STRING, true},
                {"key", &key, JSON_STRING, true},
                {"hold_seconds", &hold, JSON_NUMBER, true},
        };
        char text[KEY_ID_TEXT_MAX + 1];

        if (json_read_object(object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0 ||
            read_text(&vm, "vm", text, sizeof(text), err) < 0 ||
            uuid_parse(text, strlen(text), ret_vm, err) < 0 ||
            read_text(&target, "target", line->target, sizeof(line->target), err) < 0 ||
            read_path(&image, "image", line->image, err) < 0 ||
            read_text(&mode, "mode", text, sizeof(text), err) < 0 ||
            disk_mode_parse(text, &line->mode, err) < 0 ||
            (header.type != JSON_ABSENT && read_path(&header, "header", line->header, err) < 0))
                return -1;
        if (!disk_target_valid(line->target, strlen(line->target)))
                return wla_fail(err, WLA_E_INPUT, "the target is no device name");
        line->has_key_id = key.type != JSON_ABSENT;
        if (line->has_key_id && (read_text(&key, "key", text, sizeof(text), err) < 0 ||
                                 key_id_parse(text, strlen(text), &line->key_id, err) < 0))
                return -1;
        if (hold.type != JSON_ABSENT &&
            json_unsigned(&hold, HOLD_SECONDS_MAX, ret_hold_sec, err) < 0)
                return wla_wrap(err, "hold_seconds");
        return 0;
}

static int check_payload(const struct service_context *context, struct json_value *ret,
                         struct wla_error *err) {
        const struct buf *payload = context->request->payload;

        return json_check((const char *)payload->data, payload->size, ret, err);
}

void volume_open_command(const struct service_context *context) {
        struct protected_disk line = {.any_format = true};
        struct vm_order order = {.why = OPEN_BY_HAND, .name = "", .disks = &line, .disk_count = 1};
        struct volume_name name = {.kind = VOLUME_DISK};
        char device[sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE] = VOLUME_DEVICE_ROOT;
        struct json_value object;
        struct wla_error err = {0};
        uint64_t hold_sec = 0;

        if (check_payload(context, &object, &err) < 0 ||
            read_line(&object, &order.uuid, &line, &hold_sec, &err) < 0) {
                (void)wla_wrap(&err, "the volume to open");
                service_answer(context, -1, &err);
                return;
        }
        order.hold_usec = hold_sec * USEC_PER_SEC;
        name.uuid = order.uuid;
        memcpy(name.target, line.target, sizeof(name.target));
        volume_name_write(&name, device + strlen(VOLUME_DEVICE_ROOT));
        service_open(context, &order, device);
}

struct close_call {
        struct errand errand; /* first: it is what comes back */
        struct service_call call;
        struct vm_service *service;
        struct volume_name name;
        char text[VOLUME_NAME_SIZE];
        bool let_go; /* a lease of ours was on it: it may take a moment */
};

static int close_once(const struct close_call *close, struct wla_error *err) {
        struct volumed_request request = {.operation = VOLUMED_CLOSE};
        const struct volume_call call = {.request = &request, .header_fd = -1};
        struct volume_session *session;
        struct volumed_reply reply;

        memcpy(request.name, close->text, sizeof(request.name));
        if (volume_session_open(vm_service_volume_socket(close->service), &close->errand.deadline,
                                &session, err) < 0)
                return -1;
        int outcome = volume_session_call(session, &call, &close->errand.deadline, &reply, err);
        volume_session_free(session);
        return outcome;
}

static int close_work(struct errand *errand, struct wla_error *err) {
        const struct close_call *close = (struct close_call *)errand;
        const struct timespec pause = {.tv_nsec = REMOVAL_PAUSE_NSEC};
        uint64_t give_up_usec = clock_now_usec() + REMOVAL_PATIENCE;

        while (close_once(close, err) < 0) {
                if (close->let_go && err->code == WLA_E_NOT_FOUND)
                        return 0;
                if (!close->let_go || err->code != WLA_E_BUSY || clock_now_usec() >= give_up_usec)
                        return -1;
                (void)nanosleep(&pause, NULL);
        }
        return 0;
}

static void close_finish(struct errand *errand, const struct wla_error *err) {
        struct close_call *close = (struct close_call *)errand;

        if (!err && close->name.kind == VOLUME_DISK)
                lifecycle_closed_by_hand(vm_service_lifecycle(close->service), &close->name);
        service_call_answer(&close->call, NULL, err);
        free(close);
}

static int read_name(const struct json_value *object, struct close_call *close,
                     struct wla_error *err) {
        struct json_value name;
        const struct json_field fields[] = {{"name", &name, JSON_STRING, false}};

        if (json_read_object(object, fields, 1, err) < 0 ||
            read_text(&name, "name", close->text, sizeof(close->text), err) < 0)
                return -1;
        if (volume_name_parse(close->text, &close->name, err) < 0) {
                err->hint = hint_list;
                return -1;
        }
        return 0;
}

static int close_begin(const struct service_context *context, struct close_call *close,
                       struct wla_error *err) {
        struct lifecycle *lifecycle = vm_service_lifecycle(context->service);
        struct json_value object;

        close->service = context->service;
        if (check_payload(context, &object, err) < 0 || read_name(&object, close, err) < 0)
                return wla_wrap(err, "the volume to close");
        if (close->name.kind == VOLUME_DISK &&
            lifecycle_let_go(lifecycle, &close->name, &close->let_go, err) < 0)
                return -1;
        close->errand.work = close_work;
        close->errand.finish = close_finish;
        return errand_begin(&close->errand, lifecycle, context->request->deadline_usec, err);
}

void volume_close_command(const struct service_context *context) {
        struct close_call *close = calloc(1, sizeof(*close));
        struct wla_error err = {0};

        if (!close) {
                service_answer(context, wla_fail(&err, WLA_E_BUSY, "out of memory"), &err);
                return;
        }
        if (close_begin(context, close, &err) < 0) {
                free(close);
                service_answer(context, -1, &err);
                return;
        }
        service_stay(context, &close->call);
}

struct list_call {
        struct errand errand; /* first: it is what comes back */
        struct service_call call;
        struct vm_service *service;
        struct volume_list mappings;
        struct volume_list layers;
        struct volume_list conversions;
};

static int list_work(struct errand *errand, struct wla_error *err) {
        struct list_call *list = (struct list_call *)errand;
        const char *socket = vm_service_volume_socket(list->service);

        if (volume_list_read(socket, VOLUMED_LIST, &errand->deadline, &list->mappings, err) < 0)
                return -1;
        if (volume_list_read(socket, VOLUMED_LIST_LAYERS, &errand->deadline, &list->layers, err) <
            0)
                return -1;
        return volume_list_read(socket, VOLUMED_LIST_CONVERSIONS, &errand->deadline,
                                &list->conversions, err);
}

static int write_name(const struct volume_entry *entry, struct buf *json, struct wla_error *err) {
        if (buf_printf(json, err, "{\"name\":\"%s\",", entry->text) < 0)
                return -1;
        if (entry->name.kind == VOLUME_IMAGE)
                return buf_printf(json, err, "\"image\":\"%s\"", entry->name.uuid.text);
        return buf_printf(json, err, "\"vm\":\"%s\",\"target\":\"%s\"", entry->name.uuid.text,
                          entry->name.target);
}

static const struct volume_entry *find_file(const struct volume_list *list,
                                            const struct volume_entry *mapping) {
        for (size_t i = 0; i < list->count; i++)
                if (list->entries[i].data_device == mapping->data_device &&
                    list->entries[i].data_inode == mapping->data_inode)
                        return &list->entries[i];
        return NULL;
}

/* Of the files that wlagent-volumed keeps itself.  Others are not asked: an image may be on a file system
 * that does not answer. */
static int write_allocated(const struct list_call *list, const struct volume_entry *mapping,
                           struct buf *json, struct wla_error *err) {
        const struct volume_entry *file = find_file(
                mapping->name.kind == VOLUME_IMAGE ? &list->conversions : &list->layers, mapping);

        return file ? buf_printf(json, err, "%" PRIu64, file->allocated)
                    : buf_append_text(json, "null", err);
}

static int write_mapping(const struct list_call *list, const struct volume_entry *entry,
                         struct buf *json, struct wla_error *err) {
        const struct lifecycle *lifecycle = vm_service_lifecycle(list->service);

        if (write_name(entry, json, err) < 0)
                return -1;
        if (entry->name.kind == VOLUME_DISK &&
            buf_printf(json, err, ",\"known\":%s",
                       lifecycle_knows(lifecycle, &entry->name) ? "true" : "false") < 0)
                return -1;
        if (buf_printf(json, err, ",\"device\":\"%s%s\",\"size\":%" PRIu64 ",\"allocated\":",
                       VOLUME_DEVICE_ROOT, entry->text, entry->size) < 0 ||
            write_allocated(list, entry, json, err) < 0)
                return -1;
        return buf_printf(json, err, ",\"open_count\":%" PRIu32 ",\"writable\":%s}",
                          entry->open_count, entry->writable ? "true" : "false");
}

static int write_layer(const struct list_call *list, const struct volume_entry *entry,
                       struct buf *json, struct wla_error *err) {
        uint64_t since_sec = orphans_since(vm_service_orphans(list->service), entry->text);

        if (write_name(entry, json, err) < 0 ||
            buf_printf(json, err,
                       ",\"size\":%" PRIu64 ",\"allocated\":%" PRIu64 ",\"orphan_since\":",
                       entry->size, entry->allocated) < 0)
                return -1;
        return since_sec ? buf_printf(json, err, "%" PRIu64 "}", since_sec)
                         : buf_append_text(json, "null}", err);
}

/* What is leaving is not shown: nobody shall count on it any more. */
static int write_layers(const struct list_call *list, struct buf *json, struct wla_error *err) {
        const struct orphans *orphans = vm_service_orphans(list->service);
        const char *separator = "";

        for (size_t i = 0; i < list->layers.count; i++) {
                const struct volume_entry *entry = &list->layers.entries[i];

                if (orphans_leaving(orphans, entry->text, clock_now_usec()))
                        continue;
                if (buf_append_text(json, separator, err) < 0 ||
                    write_layer(list, entry, json, err) < 0)
                        return -1;
                separator = ",";
        }
        return 0;
}

static int write_conversion(const struct volume_entry *entry, struct buf *json,
                            struct wla_error *err) {
        if (write_name(entry, json, err) < 0 || buf_append_text(json, ",\"key\":", err) < 0 ||
            json_write_string(json, entry->key_id, strlen(entry->key_id), err) < 0)
                return -1;
        return buf_printf(json, err,
                          ",\"size\":%" PRIu64 ",\"allocated\":%" PRIu64 ",\"layers\":%" PRIu32
                          ",\"last_used\":%" PRIu64 "}",
                          entry->size, entry->allocated, entry->open_count, entry->used_sec);
}

static int write_all(const struct list_call *list, struct buf *json, struct wla_error *err) {
        if (buf_append_text(json, "{\"volumes\":[", err) < 0)
                return -1;
        for (size_t i = 0; i < list->mappings.count; i++)
                if ((i > 0 && buf_append_text(json, ",", err) < 0) ||
                    write_mapping(list, &list->mappings.entries[i], json, err) < 0)
                        return -1;
        if (buf_append_text(json, "],\"layers\":[", err) < 0 || write_layers(list, json, err) < 0 ||
            buf_append_text(json, "],\"conversions\":[", err) < 0)
                return -1;
        for (size_t i = 0; i < list->conversions.count; i++)
                if ((i > 0 && buf_append_text(json, ",", err) < 0) ||
                    write_conversion(&list->conversions.entries[i], json, err) < 0)
                        return -1;
        return buf_append_text(json, "]}", err);
}

static void list_finish(struct errand *errand, const struct wla_error *err) {
        struct list_call *list = (struct list_call *)errand;
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
        struct wla_error own = {0};

        if (!err && write_all(list, &json, &own) < 0)
                err = &own;
        service_call_answer(&list->call, &json, err);
        volume_list_clear(&list->mappings);
        volume_list_clear(&list->layers);
        volume_list_clear(&list->conversions);
        free(list);
}

void volumes_command(const struct service_context *context) {
        struct list_call *list = calloc(1, sizeof(*list));
        struct wla_error err = {0};
        int outcome;

        if (!list) {
                service_answer(context, wla_fail(&err, WLA_E_BUSY, "out of memory"), &err);
                return;
        }
        list->service = context->service;
        list->errand.work = list_work;
        list->errand.finish = list_finish;
        outcome = errand_begin(&list->errand, vm_service_lifecycle(context->service),
                               context->request->deadline_usec, &err);
        if (outcome < 0) {
                free(list);
                service_answer(context, outcome, &err);
                return;
        }
        service_stay(context, &list->call);
}
