/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/service_call.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "vm/report.h"

/* volumed and key sources give up this much before whoever asks does, so that their reason gets there. */
#define REASON_MARGIN (250 * USEC_PER_MSEC)

#define DEVICE_SIZE (sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE)
#define REPLY_MAX   256u

struct opening_call {
        struct service_call call; /* first: it is what is cancelled */
        struct vm_call *opening;
        char device[DEVICE_SIZE];
};

void service_answer(const struct service_context *context, int outcome,
                    const struct wla_error *err) {
        const struct control_result result = {.err = outcome < 0 ? err : NULL};

        context->done(context->userdata, &result);
}

void service_call_answer(const struct service_call *call, struct buf *text,
                         const struct wla_error *err) {
        const struct control_result result = {.text = err ? NULL : text, .err = err};

        if (call->done)
                call->done(call->userdata, &result);
}

static void forget_receiver(struct service_call *call) {
        call->done = NULL;
}

void service_stay(const struct service_context *context, struct service_call *call) {
        call->done = context->done;
        call->userdata = context->userdata;
        call->cancel = forget_receiver;
        *context->ret = call;
}

static void opened(void *userdata, const struct wla_error *err) {
        struct opening_call *call = userdata;
        const struct service_call answered = call->call;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(REPLY_MAX);
        struct wla_error own = {0};

        if (!err && call->device[0] != '\0' &&
            buf_printf(&text, &own, "{\"device\":\"%s\"}", call->device) < 0)
                err = &own;
        free(call);
        service_call_answer(&answered, &text, err);
}

static void cancel_opening(struct service_call *opaque) {
        struct opening_call *call = (struct opening_call *)opaque;

        vm_call_cancel(call->opening);
        free(call);
}

static uint64_t deadline_with_margin(const struct control_request *request) {
        uint64_t now_usec = clock_now_usec();
        uint64_t left_usec = request->deadline_usec > now_usec ? request->deadline_usec - now_usec
                                                               : 0;
        uint64_t margin_usec = left_usec / 4;

        return request->deadline_usec - (margin_usec < REASON_MARGIN ? margin_usec : REASON_MARGIN);
}

static void refuse(const struct service_context *context, const struct vm_order *order,
                   const struct wla_error *err) {
        for (size_t i = 0; order->header_fds && i < order->disk_count; i++) {
                int fd = order->header_fds[i];

                file_closep(&fd);
        }
        report_refused(&order->uuid, order->name, err);
        service_answer(context, -1, err);
}

void service_open(const struct service_context *context, struct vm_order *order,
                  const char *device) {
        struct orphans *orphans = vm_service_orphans(context->service);
        struct opening_call *call;
        struct vm_call *opening;
        struct wla_error err = {0};

        order->left_here = orphans_left(orphans, &order->uuid);
        if (orphans_claim(orphans, &order->uuid, &err) < 0) {
                refuse(context, order, &err);
                return;
        }
        call = calloc(1, sizeof(*call));
        if (!call) {
                (void)wla_fail(&err, WLA_E_BUSY, "out of memory");
                refuse(context, order, &err);
                return;
        }
        call->call = (struct service_call){
                .done = context->done, .userdata = context->userdata, .cancel = cancel_opening};
        (void)snprintf(call->device, sizeof(call->device), "%s", device);
        order->peer = context->request->peer;
        order->deadline_usec = deadline_with_margin(context->request);
        order->done = opened;
        order->userdata = call;
        /* Without an opening the call has ended already. */
        lifecycle_open(vm_service_lifecycle(context->service), order, &opening);
        if (!opening)
                return;
        call->opening = opening;
        *context->ret = call;
}
