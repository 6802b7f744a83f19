/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The daemon's half of include/wlagent/control.h for one connection, without a socket: bytes in, bytes
 * out.  One request, one reply, then the connection is finished.
 *
 * Ownership: handlers belong to the caller and outlive the connection; payloads are in wiping buffers, those
 *            of CONTROL_IMAGE_WRAP and CONTROL_IMAGE_UNWRAP in locked memory.
 * Threads:   the loop thread.
 * Failure:   a request that cannot be served is answered with a code and a line of text; bytes that
 *            are no request at all close the connection.
 */

#include "base/buf.h"
#include "key/request.h"
#include "keyprovider/service.h"
#include "wlagent/control.h"

struct control_connection;

struct control_request {
        uint16_t command;
        struct buf *payload;               /* the service may take it; it is wiped in any case */
        struct wla_secret *secret_payload; /* instead, when it was locked; the service's */
        struct key_peer peer;
        uint64_t deadline_usec; /* CLOCK_MONOTONIC; for the answer to be there */
        /* CONTROL_DOMAIN: begin sets it when the peer has to hear CONTROL_PROTECTED before the reply. */
        bool *ret_protected;
};

/* Either err is set, or the payload of the reply: text, and behind it secret.  Both may be NULL, and are
 * the receiver's. */
struct control_result {
        struct buf *text;
        struct wla_secret *secret;
        const struct wla_error *err;
};

typedef void (*control_done_fn)(void *userdata, const struct control_result *result);

/* Serves commands that take time.  begin calls done exactly once, perhaps before it returns; then it leaves
 * *ret NULL.  Otherwise *ret is what to cancel when the peer has gone or its time is up: done is not called
 * any more then. */
struct control_service {
        uint64_t (*timeout_usec)(void *self, uint16_t command, const struct buf *payload);
        void (*begin)(void *self, const struct control_request *request, control_done_fn done,
                      void *userdata, void **ret);
        void (*cancel)(void *self, void *call);
        void *self;
        bool for_everybody; /* else only for those who may administer */
};

struct control_handlers {
        /* Both append the payload of the reply. */
        int (*status)(void *self, struct buf *reply, struct wla_error *err);
        int (*metrics)(void *self, struct buf *reply, struct wla_error *err);
        void (*forget)(void *self);
        void *self;
        struct keyprovider_service *keyprovider;
        const struct control_service *vms;    /* domains and volumes; NULL: there is none */
        const struct control_service *images; /* their keys; NULL: there is none */
        const struct control_service *work;   /* on volumes, for long; NULL: there is none */
};

struct control_connection_options {
        const struct control_handlers *handlers;
        struct key_peer peer;
        bool may_administer;   /* else only CONTROL_KEYPROVIDER and services for everybody */
        uint64_t timeout_usec; /* from accept to the reply, where a service sets none */
        void (*wake)(void *userdata);
        void *userdata;
};

int control_connection_new(const struct control_connection_options *options, uint64_t now_usec,
                           struct control_connection **ret, struct wla_error *err) _must_check_;
struct control_connection *control_connection_free(struct control_connection *connection);

int control_connection_feed(struct control_connection *connection, const uint8_t *data, size_t size,
                            struct wla_error *err) _must_check_;
int control_connection_drain(struct control_connection *connection, struct buf *out,
                             struct wla_error *err) _must_check_;
/* A request under way is finished; a connection without one is over. */
void control_connection_shutdown(struct control_connection *connection);
void control_connection_tick(struct control_connection *connection, uint64_t now_usec);
uint64_t control_connection_next_usec(const struct control_connection *connection);
bool control_connection_finished(const struct control_connection *connection);
