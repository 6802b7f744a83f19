/* SPDX-License-Identifier: Apache-2.0 */
#include "control/image_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "image/volume_key.h"

_Static_assert(CONTROL_IMAGE_IDENTITY_SIZE == IMAGE_IDENTITY_MAX, "an identity fits");
_Static_assert(CONTROL_KEY_ID_SIZE == KEY_ID_TEXT_MAX + 1, "a key id fits");
_Static_assert(sizeof(((struct control_image_key *)0)->key) == VOLUME_KEY_WRAPPED_SIZE,
               "a wrapped key fits");
_Static_assert(sizeof(((struct control_image_key *)0)->nonce) == AES256_GCM_NONCE, "a nonce fits");

struct image_keys {
        struct key_access *access;
        struct image_keys_settings settings;
        struct control_service service;
};

struct image_key_call {
        uint16_t command;
        struct wla_secret *payload;
        const struct control_image_key *request; /* in payload */
        struct key_id id;
        struct key_peer peer;
        control_done_fn done;
        void *userdata;
        struct key_ticket *ticket;
};

static const char *operation_of(const struct image_key_call *call) {
        return call->command == CONTROL_IMAGE_WRAP ? "image wrap" : "image unwrap";
}

static void log_end(const struct image_key_call *call, const char *outcome, const char *reason) {
        const char *operation = operation_of(call);
        const char *key = call->id.text[0] ? call->id.text : NULL;
        char uid[16];
        char pid[16];

        (void)snprintf(uid, sizeof(uid), "%" PRIu32, (uint32_t)call->peer.uid);
        (void)snprintf(pid, sizeof(pid), "%" PRId32, (int32_t)call->peer.pid);
        const struct log_field fields[] = {
                {"WLA_KEY_ID", key},          {"WLA_PEER_UID", uid},       {"WLA_PEER_PID", pid},
                {"WLA_OPERATION", operation}, {"WLA_ERROR_CODE", outcome}, {NULL, NULL},
        };

        if (!reason)
                log_event(LOG_INFO, LOG_ID_KEY_RELEASED, fields, "%s with %s done for uid %s",
                          operation, key, uid);
        else
                log_event(LOG_WARNING, LOG_ID_KEY_REFUSED, fields,
                          "%s with %s refused to uid %s: %s", operation, key ? key : "no key", uid,
                          reason);
}

static struct image_key_call *call_free(struct image_key_call *call) {
        call->payload = wla_secret_free(call->payload);
        free(call);
        return NULL;
}

static void end_call(struct image_key_call *call, struct wla_secret *reply,
                     const struct wla_error *err) {
        const struct control_result result = {.secret = reply, .err = reply ? NULL : err};
        control_done_fn done = call->done;
        void *userdata = call->userdata;
        char reason[1024];

        if (!reply)
                wla_error_format(err, reason, sizeof(reason));
        log_end(call, wla_code_token(reply ? WLA_OK : err->code), reply ? NULL : reason);
        (void)call_free(call);
        done(userdata, &result);
}

static struct wla_bytes identity_of(const struct image_key_call *call) {
        return (struct wla_bytes){
                .data = call->request->identity,
                .size = call->request->identity_size,
        };
}

/* What is wrapped is known from now on by its nonce and bytes. */
static int wrap(const struct image_key_call *call, const struct wla_secret *kek,
                struct control_image_key *reply, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        struct wrapped_volume_key wrapped;

        if (wla_secret_new(VOLUME_KEY_SIZE, &volume_key, err) < 0)
                return -1;
        memcpy(wla_secret_fill(volume_key), call->request->key, VOLUME_KEY_SIZE);
        if (volume_key_wrap(kek, identity_of(call), volume_key, &wrapped, err) < 0)
                return -1;

        memcpy(reply->nonce, wrapped.nonce, sizeof(reply->nonce));
        memcpy(reply->key, wrapped.bytes, sizeof(reply->key));
        return 0;
}

static int unwrap(const struct image_key_call *call, const struct wla_secret *kek,
                  struct control_image_key *reply, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        struct wrapped_volume_key wrapped;

        memcpy(wrapped.nonce, call->request->nonce, sizeof(wrapped.nonce));
        memcpy(wrapped.bytes, call->request->key, sizeof(wrapped.bytes));
        if (volume_key_unwrap(kek, identity_of(call), &wrapped, &volume_key, err) < 0) {
                if (err->code == WLA_E_DENIED)
                        err->hint = "the key is not the one that encrypted this image, or its "
                                    "header was changed";
                return wla_wrap(err, "the volume key does not open with %s", call->id.text);
        }

        memcpy(reply->nonce, wrapped.nonce, sizeof(reply->nonce));
        memcpy(reply->key, wla_secret_view(volume_key).data, VOLUME_KEY_SIZE);
        return 0;
}

static int answer(const struct image_key_call *call, const struct wla_secret *kek,
                  struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;

        if (wla_secret_new(sizeof(struct control_image_key), &secret, err) < 0)
                return -1;

        struct control_image_key *reply = (struct control_image_key *)wla_secret_fill(secret);
        memcpy(reply->key_id, call->request->key_id, sizeof(reply->key_id));
        memcpy(reply->identity, call->request->identity, sizeof(reply->identity));
        reply->identity_size = call->request->identity_size;
        int outcome = call->command == CONTROL_IMAGE_WRAP ? wrap(call, kek, reply, err)
                                                          : unwrap(call, kek, reply, err);
        if (outcome < 0)
                return -1;

        *ret = secret;
        secret = NULL;
        return 0;
}

static void take_key(void *userdata, const struct wla_secret *key,
                     const struct wla_error *failure) {
        struct image_key_call *call = userdata;
        struct wla_secret *reply = NULL;
        struct wla_error err = {0};

        call->ticket = NULL;
        if (failure)
                err = *failure;
        else if (answer(call, key, &reply, &err) < 0)
                reply = NULL;
        end_call(call, reply, &err);
}

static int check_request(const struct image_keys *keys, struct image_key_call *call,
                         struct wla_error *err) {
        static const char prefix[] = IMAGE_IDENTITY_PREFIX;
        const struct control_image_key *request = call->request;
        size_t id_size = strnlen(request->key_id, sizeof(request->key_id));

        if (id_size == sizeof(request->key_id) || request->reserved != 0 ||
            request->identity_size > sizeof(request->identity) ||
            request->identity_size < sizeof(prefix) ||
            memcmp(request->identity, prefix, sizeof(prefix) - 1) != 0)
                return wla_fail(err, WLA_E_INPUT, "this is no request for an image's key");
        if (key_id_parse(request->key_id, id_size, &call->id, err) < 0)
                return -1;

        if (call->command == CONTROL_IMAGE_WRAP && !keys->settings.allow_wrap)
                return wla_fail_hint(err, WLA_E_DENIED,
                                     "AllowWrap=yes in wlagent.conf allows it, and --key-file "
                                     "needs no agent",
                                     "this agent does not wrap keys");
        if (call->command == CONTROL_IMAGE_UNWRAP && call->peer.uid != 0 &&
            call->peer.uid != geteuid())
                return wla_fail_hint(err, WLA_E_DENIED, "run the command as root",
                                     "user %ju may not have the keys of images",
                                     (uintmax_t)call->peer.uid);
        return 0;
}

static int read_request(struct image_key_call *call, struct wla_error *err) {
        if (!call->payload || wla_secret_view(call->payload).size != sizeof(*call->request))
                return wla_fail(err, WLA_E_INPUT, "this is no request for an image's key");
        call->request = (const void *)wla_secret_view(call->payload).data;
        return 0;
}

static void begin(void *self, const struct control_request *request, control_done_fn done,
                  void *userdata, void **ret) {
        struct image_keys *keys = self;
        struct image_key_call *call = calloc(1, sizeof(*call));
        struct key_ticket *ticket = NULL;
        struct wla_error err = {0};

        *ret = NULL;
        if (!call) {
                (void)wla_secret_free(request->secret_payload);
                (void)wla_fail(&err, WLA_E_BUSY, "out of memory");
                done(userdata, &(struct control_result){.err = &err});
                return;
        }

        call->command = request->command;
        call->payload = request->secret_payload;
        call->peer = request->peer;
        call->done = done;
        call->userdata = userdata;
        if (read_request(call, &err) < 0 || check_request(keys, call, &err) < 0) {
                end_call(call, NULL, &err);
                return;
        }

        const struct key_waiter waiter = {
                .deadline_usec = request->deadline_usec,
                .ready = take_key,
                .userdata = call,
        };
        /* Without a ticket the call has ended already. */
        key_access_begin(keys->access, &call->id, &call->peer, &waiter, &ticket);
        if (!ticket)
                return;
        call->ticket = ticket;
        *ret = call;
}

static void cancel(void *self, void *userdata) {
        struct image_key_call *call = userdata;

        (void)self;
        if (call->ticket)
                key_ticket_cancel(call->ticket);
        log_end(call, "cancelled", "the client has gone, or the time limit has passed");
        (void)call_free(call);
}

static uint64_t timeout_usec(void *self, uint16_t command, const struct buf *payload) {
        const struct image_keys *keys = self;

        (void)command;
        (void)payload;
        return keys->settings.timeout_usec;
}

int image_keys_new(struct key_access *access, const struct image_keys_settings *settings,
                   struct image_keys **ret, struct wla_error *err) {
        struct image_keys *keys = calloc(1, sizeof(*keys));

        if (!keys)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        keys->access = access;
        keys->settings = *settings;
        keys->service = (struct control_service){
                .timeout_usec = timeout_usec,
                .begin = begin,
                .cancel = cancel,
                .self = keys,
                .for_everybody = true,
        };
        *ret = keys;
        return 0;
}

struct image_keys *image_keys_free(struct image_keys *keys) {
        free(keys);
        return NULL;
}

void image_keys_configure(struct image_keys *keys, const struct image_keys_settings *settings) {
        keys->settings = *settings;
}

const struct control_service *image_keys_service(const struct image_keys *keys) {
        return &keys->service;
}
