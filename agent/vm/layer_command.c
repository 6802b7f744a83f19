/* SPDX-License-Identifier: Apache-2.0 */

/* Removes the layer of one disk, because somebody has said so, or because it is an orphan (orphans.h); or a
 * converted image. */

#include <stdlib.h>
#include <string.h>

#include "base/json_object.h"
#include "vm/layer_remove.h"
#include "vm/report.h"
#include "vm/service_call.h"
#include "wlagent/control.h"

struct remove_call {
        struct errand errand; /* first: it is what comes back */
        struct service_call call;
        struct vm_service *service;
        struct volume_name name;
        char text[VOLUME_NAME_SIZE];
        bool orphan;
        uint64_t review_usec; /* that has chosen it */
};

static int remove_work(struct errand *errand, struct wla_error *err) {
        const struct remove_call *call = (struct remove_call *)errand;

        return layer_remove(vm_service_volume_socket(call->service), &call->name, &errand->deadline,
                            err);
}

static void remove_finish(struct errand *errand, const struct wla_error *err) {
        struct remove_call *call = (struct remove_call *)errand;

        if (call->orphan)
                orphans_remove_end(vm_service_orphans(call->service), call->text, clock_now_usec(),
                                   err);
        if (call->orphan && !err)
                report_orphan(&call->name, /* removed= */ true);
        /* An ephemeral layer is gone already. */
        if (call->name.kind == VOLUME_DISK && (!err || err->code == WLA_E_NOT_FOUND))
                lifecycle_layer_removed(vm_service_lifecycle(call->service), &call->name);
        service_call_answer(&call->call, NULL, err);
        free(call);
}

static int read_uuid(const struct json_value *value, struct uuid *ret, struct wla_error *err) {
        char text[UUID_TEXT_SIZE];

        if (json_string_copy(value, text, sizeof(text), err) < 0)
                return -1;
        return uuid_parse(text, strlen(text), ret, err);
}

static int read_disk(const struct json_value *vm, const struct json_value *target,
                     struct volume_name *ret, struct wla_error *err) {
        if (read_uuid(vm, &ret->uuid, err) < 0 ||
            json_string_copy(target, ret->target, sizeof(ret->target), err) < 0)
                return -1;
        if (!disk_target_valid(ret->target, strlen(ret->target)))
                return wla_fail(err, WLA_E_INPUT, "the target is no device name");
        ret->kind = VOLUME_DISK;
        return 0;
}

static int read_name(const struct buf *payload, struct remove_call *call, struct wla_error *err) {
        struct json_value object;
        struct json_value vm;
        struct json_value target;
        struct json_value image;
        struct json_value review;
        const struct json_field fields[] = {
                {"vm", &vm, JSON_STRING, true},
                {"target", &target, JSON_STRING, true},
                {"image", &image, JSON_STRING, true},
                {"review", &review, JSON_NUMBER, true},
        };

        if (json_check((const char *)payload->data, payload->size, &object, err) < 0 ||
            json_read_object(&object, fields, sizeof(fields) / sizeof(fields[0]), err) < 0)
                return -1;
        bool disk = vm.type != JSON_ABSENT && target.type != JSON_ABSENT;
        if (disk == (image.type != JSON_ABSENT) || (!disk && review.type != JSON_ABSENT))
                return wla_fail(err, WLA_E_INPUT, "it names neither a disk nor an image");

        call->name.kind = VOLUME_IMAGE;
        if (disk ? read_disk(&vm, &target, &call->name, err) < 0
                 : read_uuid(&image, &call->name.uuid, err) < 0)
                return -1;
        volume_name_write(&call->name, call->text);
        call->orphan = review.type != JSON_ABSENT;
        return call->orphan ? json_unsigned(&review, INT64_MAX, &call->review_usec, err) : 0;
}

static int remove_begin(const struct service_context *context, struct remove_call *call,
                        struct wla_error *err) {
        struct lifecycle *lifecycle = vm_service_lifecycle(context->service);

        call->service = context->service;
        if (read_name(context->request->payload, call, err) < 0)
                return wla_wrap(err, "what is to be removed");
        /* It may be about to open the layer; volumed itself refuses only what is mapped. */
        if (call->name.kind == VOLUME_DISK &&
            lifecycle_check_ended(lifecycle, &call->name.uuid, err) < 0)
                return -1;

        if (call->orphan && orphans_remove_begin(vm_service_orphans(call->service), call->text,
                                                 call->review_usec, clock_now_usec(), err) < 0)
                return -1;

        call->errand.work = remove_work;
        call->errand.finish = remove_finish;
        int outcome = errand_begin(&call->errand, lifecycle, context->request->deadline_usec, err);
        if (outcome < 0 && call->orphan)
                orphans_remove_cancel(vm_service_orphans(call->service), call->text);
        return outcome;
}

void layer_remove_command(const struct service_context *context) {
        struct remove_call *call = calloc(1, sizeof(*call));
        struct wla_error err = {0};

        if (!call) {
                service_answer(context, wla_fail(&err, WLA_E_BUSY, "out of memory"), &err);
                return;
        }
        if (remove_begin(context, call, &err) < 0) {
                free(call);
                service_answer(context, -1, &err);
                return;
        }
        service_stay(context, &call->call);
}
