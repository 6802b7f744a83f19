/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The daemon's half of include/wlagent/control.h for one connection, without a socket: bytes in, bytes
 * out.  One request, one reply, then the connection is finished.
 *
 * Ownership: handlers belong to the caller and outlive the connection; payloads are in wiping buffers.
 * Threads:   the loop thread.
 * Failure:   a request that cannot be served is answered with a code and a line of text; bytes that
 *            are no request at all close the connection.
 */

#include "base/buf.h"
#include "key/request.h"
#include "keyprovider/service.h"
#include "wlagent/control.h"

struct control_connection;

struct control_handlers {
        /* Both append the payload of the reply. */
        int (*status)(void *self, struct buf *reply, struct wla_error *err);
        int (*metrics)(void *self, struct buf *reply, struct wla_error *err);
        void (*forget)(void *self);
        void *self;
        struct keyprovider_service *keyprovider;
};

struct control_connection_options {
        const struct control_handlers *handlers;
        struct key_peer peer;
        bool may_administer;   /* else only CONTROL_KEYPROVIDER */
        uint64_t timeout_usec; /* from accept to the reply */
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
