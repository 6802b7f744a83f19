/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/service.h"

#include <string.h>

#include "base/wiping_alloc.h"
#include "keyprovider/keyprovider_call.h"
#include "keyprovider/provider_message.h"

struct keyprovider_service {
        struct key_access *access;
        struct keyprovider_settings settings;
        struct grpc_handler handler;
};

static void end_grpc_call(void *userdata, struct wla_secret *reply, const struct wla_error *err) {
        if (reply)
                grpc_call_reply(userdata, reply);
        else
                grpc_call_fail(userdata, err);
}

static int find_operation(const char *method, enum provider_operation *ret, struct wla_error *err) {
        if (strcmp(method, KEYPROVIDER_METHOD_UNWRAP) == 0)
                *ret = PROVIDER_UNWRAP;
        else if (strcmp(method, KEYPROVIDER_METHOD_WRAP) == 0)
                *ret = PROVIDER_WRAP;
        else
                return wla_fail_hint(err, WLA_E_UNSUPPORTED,
                                     "this socket serves keyprovider.KeyProviderService",
                                     "unknown method %s", method);
        return 0;
}

static void start_grpc_call(void *self, struct grpc_call *grpc, const char *method,
                            struct buf *message) {
        struct keyprovider_service *service = self;
        const struct keyprovider_origin origin = {
                .peer = *grpc_call_peer(grpc),
                .deadline_usec = grpc_call_deadline_usec(grpc),
                .framing = PROVIDER_PROTOBUF,
                .done = end_grpc_call,
                .userdata = grpc,
        };
        enum provider_operation operation = PROVIDER_UNKNOWN;
        _cleanup_buf_ struct buf json = {0};
        struct keyprovider_call *call;
        struct wla_error err = {0};

        if (find_operation(method, &operation, &err) < 0) {
                grpc_call_fail(grpc, &err);
                return;
        }

        call = keyprovider_call_new(service->access, &service->settings, &origin);
        if (!call) {
                (void)wla_fail(&err, WLA_E_BUSY, "out of memory");
                grpc_call_fail(grpc, &err);
                return;
        }

        if (provider_message_read((struct wla_bytes){message->data, message->size}, &json, &err) <
            0) {
                keyprovider_call_end(call, NULL, &err);
                return;
        }

        keyprovider_call_begin(call, operation, (struct wla_bytes){json.data, json.size}, &call);
        grpc_call_set_userdata(grpc, call);
}

static void cancel_grpc_call(void *self, struct grpc_call *grpc) {
        (void)self;
        keyprovider_call_cancel(grpc_call_userdata(grpc));
}

int keyprovider_service_new(struct key_access *access, const struct keyprovider_settings *settings,
                            struct keyprovider_service **ret, struct wla_error *err) {
        struct keyprovider_service *service = wiping_calloc(1, sizeof(*service));
        if (!service)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        service->access = access;
        service->settings = *settings;
        service->handler = (struct grpc_handler){
                .start = start_grpc_call,
                .cancel = cancel_grpc_call,
                .self = service,
        };
        *ret = service;
        return 0;
}

struct keyprovider_service *keyprovider_service_free(struct keyprovider_service *service) {
        wiping_free(service);
        return NULL;
}

void keyprovider_service_configure(struct keyprovider_service *service,
                                   const struct keyprovider_settings *settings) {
        service->settings = *settings;
}

const struct grpc_handler *keyprovider_service_handler(struct keyprovider_service *service) {
        return &service->handler;
}

void keyprovider_service_begin(struct keyprovider_service *service, struct buf *json,
                               const struct key_peer *peer, uint64_t deadline_usec,
                               keyprovider_done_fn done, void *userdata,
                               struct keyprovider_call **ret) {
        const struct keyprovider_origin origin = {
                .peer = *peer,
                .deadline_usec = deadline_usec,
                .framing = PROVIDER_BARE,
                .done = done,
                .userdata = userdata,
        };
        struct keyprovider_call *call = keyprovider_call_new(service->access, &service->settings,
                                                             &origin);

        *ret = NULL;
        if (call) {
                keyprovider_call_begin(call, PROVIDER_UNKNOWN,
                                       (struct wla_bytes){json->data, json->size}, ret);
        } else {
                struct wla_error err = {0};

                (void)wla_fail(&err, WLA_E_BUSY, "out of memory");
                done(userdata, NULL, &err);
        }
        buf_clear(json);
}
