/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One HTTP/2 connection that serves gRPC unary calls, without a socket: bytes in, bytes out.
 *
 * The owner feeds what it read and drains what is to be written; all time comes in as an argument, so
 * that the daemon, the unit tests and the fuzzers run the same code.
 *
 * Standards: RFC 9113, RFC 7541, gRPC over HTTP/2 (PROTOCOL-HTTP2.md).  Clear text, prior knowledge.
 * Ownership: calls belong to their connection; freeing it cancels them.  Request bodies and everything
 *            nghttp2 copies come from the wiping allocator.
 * Threads:   the loop thread.
 * Failure:   a fault of one call is answered on that call; -1 from feed or drain means that the
 *            connection itself is broken: drain once more, then close it.  Frames that no honest
 *            client sends, and floods (h2_flood.h), break it.
 */

#include "base/buf.h"
#include "base/secret.h"
#include "key/request.h"

struct h2_connection;
struct grpc_call;

struct grpc_handler {
        /* A whole request message has arrived (the gRPC prefix is taken off).  message is the handler's
         * to read and wipe until it returns.  The handler ends the call now or later with
         * grpc_call_reply() or grpc_call_fail(), exactly once. */
        void (*start)(void *self, struct grpc_call *call, const char *method, struct buf *message);
        /* The client has gone, reset the stream, or its time is up; the call ends with this. */
        void (*cancel)(void *self, struct grpc_call *call);
        void *self;
};

struct h2_limits {
        size_t message_max;         /* bytes of one request message */
        uint32_t streams_max;       /* concurrent calls */
        uint64_t call_timeout_usec; /* from the call's HEADERS to its end, all included */
        uint64_t idle_timeout_usec; /* without a call; also the bound for the first request */
};

struct h2_connection_options {
        const struct grpc_handler *handler;
        const struct h2_limits *limits; /* copied */
        struct key_peer peer;
        /* Called when output has appeared outside feed, drain and tick. */
        void (*wake)(void *userdata);
        void *userdata;
};

int h2_connection_new(const struct h2_connection_options *options, uint64_t now_usec,
                      struct h2_connection **ret, struct wla_error *err) _must_check_;
struct h2_connection *h2_connection_free(struct h2_connection *connection);

int h2_connection_feed(struct h2_connection *connection, const uint8_t *data, size_t size,
                       uint64_t now_usec, struct wla_error *err) _must_check_;

/* Appends what is ready to be sent to out, up to out's limit, which is more than a frame's header.
 * Nothing appended to an empty out: nothing is ready. */
int h2_connection_drain(struct h2_connection *connection, struct buf *out,
                        struct wla_error *err) _must_check_;

/* Ends calls whose time is up; closes an idle connection.  next_usec: when to call again. */
void h2_connection_tick(struct h2_connection *connection, uint64_t now_usec);
uint64_t h2_connection_next_usec(const struct h2_connection *connection);

/* GOAWAY; calls under way are finished, new ones refused. */
void h2_connection_shutdown(struct h2_connection *connection);

/* Nothing is left to read or to write: the socket can be closed. */
bool h2_connection_finished(const struct h2_connection *connection);

size_t h2_connection_calls(const struct h2_connection *connection);

/* For the handler.  message: protobuf bytes, without the gRPC prefix; taken over and wiped once sent.
 * deadline: CLOCK_MONOTONIC, the earlier of grpc-timeout and the limit. */
void grpc_call_reply(struct grpc_call *call, struct wla_secret *message);
void grpc_call_fail(struct grpc_call *call, const struct wla_error *err);
uint64_t grpc_call_deadline_usec(const struct grpc_call *call);
const struct key_peer *grpc_call_peer(const struct grpc_call *call);
void *grpc_call_userdata(const struct grpc_call *call);
void grpc_call_set_userdata(struct grpc_call *call, void *userdata);
