/* SPDX-License-Identifier: Apache-2.0 */

/* What libvirt knows, told by whoever may ask it.  Layers of VMs that it does not know are orphans, and
 * removed when it has not known them for long. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json_object.h"
#include "base/log.h"
#include "vm/report.h"
#include "vm/service_call.h"

struct domains_call {
        struct errand errand; /* first: it is what comes back */
        struct service_call call;
        struct vm_service *service;
        uint64_t deadline_usec;
        size_t count;
        struct uuid *known; /* sorted */
        struct volume_list layers;
        struct volume_list old; /* orphans that are to be removed */
        size_t removed;         /* of them; in order */
};

static void free_call(struct domains_call *call) {
        volume_list_clear(&call->layers);
        volume_list_clear(&call->old);
        free(call->known);
        free(call);
}

static int compare(const void *a, const void *b) {
        const struct uuid *left = a;
        const struct uuid *right = b;

        return strcmp(left->text, right->text);
}

/* A VM that starts or runs has an owner, whatever the list says. */
static bool is_known(void *userdata, const struct uuid *vm) {
        const struct domains_call *call = userdata;
        const struct volume_name name = {.kind = VOLUME_DISK, .uuid = *vm};

        return lifecycle_knows(vm_service_lifecycle(call->service), &name) ||
               bsearch(vm, call->known, call->count, sizeof(*vm), compare) != NULL;
}

static int read_domain(const struct json_value *object, struct uuid *ret, struct wla_error *err) {
        const struct json_value uuid = json_member(object, "uuid");
        const struct json_value active = json_member(object, "active");
        char text[UUID_TEXT_SIZE];

        if (json_string_copy(&uuid, text, sizeof(text), err) < 0 ||
            uuid_parse(text, strlen(text), ret, err) < 0)
                return wla_wrap(err, "uuid");
        if (active.type != JSON_TRUE && active.type != JSON_FALSE)
                return wla_fail(err, WLA_E_INPUT, "active is neither true nor false");
        return 0;
}

/* One entry that is not understood, and nothing is concluded from the list. */
static int read_domains(const struct buf *payload, struct domains_call *call,
                        struct wla_error *err) {
        struct json_value object;
        struct json_value domains;
        struct json_value domain;
        const struct json_field fields[] = {{"domains", &domains, JSON_ARRAY, false}};
        size_t at = 0;

        if (json_check((const char *)payload->data, payload->size, &object, err) < 0 ||
            json_read_object(&object, fields, 1, err) < 0)
                return -1;
        while (json_next_element(&domains, &at, &domain))
                call->count++;
        call->known = calloc(call->count + 1, sizeof(*call->known));
        if (!call->known)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        size_t number = 0;
        for (at = 0; json_next_element(&domains, &at, &domain); number++)
                if (read_domain(&domain, &call->known[number], err) < 0)
                        return wla_wrap(err, "domain %zu", number + 1);
        qsort(call->known, call->count, sizeof(*call->known), compare);
        return 0;
}

static int remove_work(struct errand *errand, struct wla_error *err) {
        struct domains_call *call = (struct domains_call *)errand;

        for (; call->removed < call->old.count; call->removed++) {
                const struct volume_entry *entry = &call->old.entries[call->removed];

                if (layer_remove(vm_service_volume_socket(call->service), &entry->name,
                                 &errand->deadline, err) < 0 &&
                    err->code != WLA_E_NOT_FOUND)
                        return wla_wrap(err, "removing the layer %s", entry->text);
        }
        return 0;
}

static void remove_finish(struct errand *errand, const struct wla_error *err) {
        struct domains_call *call = (struct domains_call *)errand;

        for (size_t i = 0; i < call->removed; i++) {
                report_orphan(&call->old.entries[i].name, /* removed= */ true);
                orphans_forget(vm_service_orphans(call->service), call->old.entries[i].text);
        }
        if (err)
                log_line(LOG_WARNING, "%s", wla_error_text(err));
        service_call_answer(&call->call, NULL, err);
        free_call(call);
}

static int list_work(struct errand *errand, struct wla_error *err) {
        struct domains_call *call = (struct domains_call *)errand;

        return volume_list_read(vm_service_volume_socket(call->service), VOLUMED_LIST_LAYERS,
                                &errand->deadline, &call->layers, err);
}

static int judge(struct domains_call *call, struct wla_error *err) {
        const struct orphans_review review = {
                .layers = &call->layers,
                .known = is_known,
                .userdata = call,
                .now_sec = (uint64_t)time(NULL),
                .age_sec = vm_service_orphan_usec(call->service) / USEC_PER_SEC,
        };

        return orphans_judge(vm_service_orphans(call->service), &review, &call->old, err);
}

static void list_finish(struct errand *errand, const struct wla_error *err) {
        struct domains_call *call = (struct domains_call *)errand;
        struct wla_error own = {0};

        if (!err && judge(call, &own) < 0)
                err = &own;
        if (!err && call->old.count > 0) {
                call->errand.work = remove_work;
                call->errand.finish = remove_finish;
                if (errand_begin(&call->errand, vm_service_lifecycle(call->service),
                                 call->deadline_usec, &own) == 0)
                        return;
                err = &own;
        }
        service_call_answer(&call->call, NULL, err);
        free_call(call);
}

static int begin(const struct service_context *context, struct domains_call *call,
                 struct wla_error *err) {
        call->service = context->service;
        call->deadline_usec = context->request->deadline_usec;
        call->errand.work = list_work;
        call->errand.finish = list_finish;
        if (read_domains(context->request->payload, call, err) < 0)
                return wla_wrap(err, "the list of domains");
        lifecycle_look_again(vm_service_lifecycle(context->service));
        return errand_begin(&call->errand, vm_service_lifecycle(context->service),
                            call->deadline_usec, err);
}

void domains_command(const struct service_context *context) {
        struct domains_call *call = calloc(1, sizeof(*call));
        struct wla_error err = {0};

        if (!call) {
                service_answer(context, wla_fail(&err, WLA_E_BUSY, "out of memory"), &err);
                return;
        }
        if (begin(context, call, &err) < 0) {
                free_call(call);
                service_answer(context, -1, &err);
                return;
        }
        service_stay(context, &call->call);
}
