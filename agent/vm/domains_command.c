/* SPDX-License-Identifier: Apache-2.0 */

/* What libvirt knows, told by whoever may ask it.  Layers of VMs that it does not know are orphans; the answer
 * names those that it has not known for long, for whoever told it to ask for again (orphans.h). */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json_object.h"
#include "vm/service_call.h"
#include "wlagent/control.h"

struct domains_call {
        struct errand errand; /* first: it is what comes back */
        struct service_call call;
        struct vm_service *service;
        size_t count;
        struct uuid *known; /* sorted */
        struct volume_list layers;
        struct volume_list chosen; /* orphans that are to be removed */
        uint64_t listed_usec;      /* CLOCK_MONOTONIC */
};

static void free_call(struct domains_call *call) {
        volume_list_clear(&call->layers);
        volume_list_clear(&call->chosen);
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

static int list_work(struct errand *errand, struct wla_error *err) {
        struct domains_call *call = (struct domains_call *)errand;

        return volume_list_read(vm_service_volume_socket(call->service), VOLUMED_LIST_LAYERS,
                                &errand->deadline, &call->layers, err);
}

static int write_chosen(const struct domains_call *call, uint64_t review_usec, struct buf *json,
                        struct wla_error *err) {
        if (buf_printf(json, err, "{\"review\":%" PRIu64 ",\"orphans\":[", review_usec) < 0)
                return -1;
        for (size_t i = 0; i < call->chosen.count; i++) {
                const struct volume_name *name = &call->chosen.entries[i].name;

                if (buf_printf(json, err, "%s{\"vm\":\"%s\",\"target\":\"%s\"}", i > 0 ? "," : "",
                               name->uuid.text, name->target) < 0)
                        return -1;
        }
        return buf_append_text(json, "]}", err);
}

static int judge(struct domains_call *call, struct buf *json, struct wla_error *err) {
        const struct orphans_review review = {
                .layers = &call->layers,
                .known = is_known,
                .userdata = call,
                .now_sec = (uint64_t)time(NULL),
                .listed_usec = call->listed_usec,
                .now_usec = clock_now_usec(),
                .age_usec = vm_service_orphan_usec(call->service),
        };

        if (orphans_judge(vm_service_orphans(call->service), &review, &call->chosen, err) < 0)
                return -1;
        return write_chosen(call, review.now_usec, json, err);
}

static void list_finish(struct errand *errand, const struct wla_error *err) {
        struct domains_call *call = (struct domains_call *)errand;
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
        struct wla_error own = {0};

        if (!err && judge(call, &json, &own) < 0)
                err = &own;
        service_call_answer(&call->call, &json, err);
        free_call(call);
}

static int begin(const struct service_context *context, struct domains_call *call,
                 struct wla_error *err) {
        call->service = context->service;
        call->errand.work = list_work;
        call->errand.finish = list_finish;
        if (read_domains(context->request->payload, call, err) < 0)
                return wla_wrap(err, "the list of domains");
        call->listed_usec = clock_now_usec();
        lifecycle_look_again(vm_service_lifecycle(context->service));
        return errand_begin(&call->errand, vm_service_lifecycle(context->service),
                            context->request->deadline_usec, err);
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
