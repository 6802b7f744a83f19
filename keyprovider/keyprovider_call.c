/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/keyprovider_call.h"

#include <openssl/rand.h>

#include "base/wiping_alloc.h"
#include "keyprovider/keyprovider_event.h"

/* Sources give up this much before the caller does, so that their own reason still reaches it. */
#define REASON_MARGIN_USEC (250 * USEC_PER_MSEC)

/* Base64 of the largest sealed options, a key id, and what stands around them. */
#define PACKET_SIZE_MAX (2u * PROVIDER_OPTIONS_MAX)

static const char hint_wrap_off[] = "AllowWrap=yes in wlagent.conf allows it";
static const char hint_ctr[] = "AllowUnauthenticatedWrap=yes in wlagent.conf accepts that anybody "
                               "may alter such annotations unnoticed";

struct keyprovider_call *keyprovider_call_new(struct key_access *access,
                                              const struct keyprovider_settings *settings,
                                              const struct keyprovider_origin *origin) {
        struct keyprovider_call *call = wiping_calloc(1, sizeof(*call));
        if (!call)
                return NULL;

        call->access = access;
        call->settings = settings;
        call->origin = *origin;
        call->arrived_usec = clock_now_usec();
        return call;
}

static void free_call(struct keyprovider_call *call) {
        provider_request_clear(&call->request);
        packet_clear(&call->packet);
        wiping_free(call);
}

void keyprovider_call_end(struct keyprovider_call *call, struct wla_secret *reply,
                          const struct wla_error *err) {
        struct keyprovider_origin origin = call->origin;
        char reason[1024];

        if (!reply)
                wla_error_format(err, reason, sizeof(reason));
        keyprovider_event_end(call, reply ? WLA_OK : err->code, reply ? NULL : reason);
        free_call(call);
        origin.done(origin.userdata, reply, reply ? NULL : err);
}

void keyprovider_call_cancel(struct keyprovider_call *call) {
        if (call->ticket)
                key_ticket_cancel(call->ticket);
        if (clock_now_usec() >= call->origin.deadline_usec)
                keyprovider_event_end(call, WLA_E_TIMEOUT, "the time limit of the call has passed");
        else
                keyprovider_event_client_gone(call);
        free_call(call);
}

static int check_key(const struct keyprovider_call *call, const struct wla_secret *key,
                     struct wla_error *err) {
        size_t size = wla_secret_view(key).size;

        if (size == AES256_KEY_SIZE)
                return 0;
        return wla_fail_hint(err, WLA_E_UNSUPPORTED, "keys for container images are AES-256 keys",
                             "%s has %zu bytes where %u are needed", call->key->text, size,
                             AES256_KEY_SIZE);
}

static int unwrap(const struct keyprovider_call *call, const struct wla_secret *key,
                  struct wla_secret **ret, struct wla_error *err) {
        const struct packet *packet = &call->packet;
        struct wla_bytes iv = {packet->iv, packet->iv_size};
        struct wla_bytes wrapped = {packet->wrapped.data, packet->wrapped.size};
        _cleanup_secret_ struct wla_secret *options = NULL;
        int outcome;

        if (packet->cipher == PACKET_AES256_CTR)
                outcome = aes256_ctr_open(key, iv, wrapped, &options, err);
        else
                outcome = aes256_gcm_open(key, iv, wrapped, &options, err);

        if (outcome < 0 && err->code == WLA_E_DENIED)
                return wla_fail_hint(
                        err, WLA_E_DENIED,
                        "the image was encrypted with another key of that name, or its "
                        "annotation was altered",
                        "the annotation does not belong to the key %s", call->key->text);
        if (outcome < 0)
                return -1;

        return provider_reply_new(PROVIDER_UNWRAP, call->origin.framing, wla_secret_view(options),
                                  ret, err);
}

static int wrap(const struct keyprovider_call *call, const struct wla_secret *key,
                struct wla_secret **ret, struct wla_error *err) {
        const struct buf *options = &call->request.options;
        _cleanup_packet_ struct packet packet = {
                .cipher = PACKET_AES256_GCM,
                .key = *call->key,
                .iv_size = AES256_GCM_NONCE,
                .wrapped.limit = options->size + AES256_GCM_TAG,
        };
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(PACKET_SIZE_MAX);

        if (RAND_bytes(packet.iv, AES256_GCM_NONCE) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL has no random bytes");

        if (aes256_gcm_seal(key, (struct wla_bytes){packet.iv, packet.iv_size},
                            (struct wla_bytes){options->data, options->size}, &packet.wrapped,
                            err) < 0 ||
            packet_write(&packet, &json, err) < 0)
                return -1;

        return provider_reply_new(PROVIDER_WRAP, call->origin.framing,
                                  (struct wla_bytes){json.data, json.size}, ret, err);
}

static void take_key(void *userdata, const struct wla_secret *key,
                     const struct wla_error *failure) {
        struct keyprovider_call *call = userdata;
        struct wla_secret *reply = NULL;
        struct wla_error err = {0};
        int outcome;

        if (failure) {
                keyprovider_call_end(call, NULL, failure);
                return;
        }

        outcome = check_key(call, key, &err);
        if (outcome == 0 && call->request.operation == PROVIDER_WRAP)
                outcome = wrap(call, key, &reply, &err);
        else if (outcome == 0)
                outcome = unwrap(call, key, &reply, &err);
        keyprovider_call_end(call, outcome < 0 ? NULL : reply, &err);
}

static int check_wrap(struct keyprovider_call *call, struct wla_error *err) {
        call->key = &call->request.key;
        if (!call->settings->allow_wrap)
                return wla_fail_hint(err, WLA_E_DENIED, hint_wrap_off,
                                     "this agent does not wrap keys");
        return 0;
}

static int check_unwrap(struct keyprovider_call *call, struct wla_error *err) {
        const struct buf *annotation = &call->request.annotation;

        if (packet_parse((struct wla_bytes){annotation->data, annotation->size}, &call->packet,
                         err) < 0)
                return -1;

        call->key = &call->packet.key;
        if (call->packet.cipher == PACKET_AES256_CTR && !call->settings->allow_unauthenticated_wrap)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_ctr,
                                     "the annotation has wrap_type A256CTR, which nothing "
                                     "authenticates");
        return 0;
}

static int parse(struct keyprovider_call *call, enum provider_operation wanted,
                 struct wla_bytes json, struct wla_error *err) {
        call->request.operation = wanted;
        if (provider_request_parse(json, &call->request, err) < 0)
                return -1;
        if (wanted != PROVIDER_UNKNOWN && call->request.operation != wanted)
                return wla_fail(err, WLA_E_INPUT,
                                "the request's op is %s, but it was sent to the method for %s",
                                provider_operation_name(call->request.operation),
                                provider_operation_name(wanted));

        return call->request.operation == PROVIDER_WRAP ? check_wrap(call, err)
                                                        : check_unwrap(call, err);
}

static uint64_t source_deadline_usec(const struct keyprovider_call *call) {
        uint64_t deadline_usec = call->origin.deadline_usec;
        uint64_t left_usec = deadline_usec > call->arrived_usec ? deadline_usec - call->arrived_usec
                                                                : 0;
        uint64_t margin_usec = left_usec / 4;

        return deadline_usec -
               (margin_usec < REASON_MARGIN_USEC ? margin_usec : REASON_MARGIN_USEC);
}

void keyprovider_call_begin(struct keyprovider_call *call, enum provider_operation wanted,
                            struct wla_bytes json, struct keyprovider_call **ret) {
        const struct key_waiter waiter = {
                .deadline_usec = source_deadline_usec(call),
                .ready = take_key,
                .userdata = call,
        };
        struct key_ticket *ticket = NULL;
        struct wla_error err = {0};

        *ret = NULL;
        if (parse(call, wanted, json, &err) < 0) {
                keyprovider_call_end(call, NULL, &err);
                return;
        }

        /* Without a ticket the call has ended already. */
        key_access_begin(call->access, call->key, &call->origin.peer, &waiter, &ticket);
        if (!ticket)
                return;
        call->ticket = ticket;
        *ret = call;
}
