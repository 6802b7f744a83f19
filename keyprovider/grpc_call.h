/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One gRPC call on one HTTP/2 stream: the request as it is put together, the reply as it is sent.
 *
 * h2_session.c feeds a call with what arrives on its stream; handlers see it through
 * h2_connection.h only.
 *
 * Ownership: a call belongs to its connection's list from grpc_call_new() to grpc_call_free().
 */

#include "keyprovider/grpc_message.h"
#include "keyprovider/h2_connection.h"

#define GRPC_PATH_MAX 128u

struct grpc_call {
        struct h2_connection *connection;
        struct grpc_call *next;
        struct grpc_call **link; /* what points to this call */
        int32_t stream_id;
        uint64_t arrived_usec;
        uint64_t deadline_usec;

        char path[GRPC_PATH_MAX];
        size_t headers_size; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
        bool is_grpc;
        bool is_post;
        bool headers_done;
        struct wla_error refusal; /* code is WLA_OK while the request is in order */

        uint8_t prefix[GRPC_PREFIX_SIZE];
        size_t prefix_size;
        size_t message_size; /* as the prefix announces it */
        struct buf message;

        bool started; /* the handler has it */
        bool ended;   /* a reply is submitted */
        void *userdata;

        struct wla_secret *reply;
        uint8_t reply_prefix[GRPC_PREFIX_SIZE];
        size_t reply_sent; /* prefix included */
};

/* NULL without memory. */
struct grpc_call *grpc_call_new(struct h2_connection *connection, int32_t stream_id);

/* Tells the handler when it still has the call. */
void grpc_call_free(struct grpc_call *call);

/* The request, as it arrives: grpc_request.c. */
void grpc_call_header(struct grpc_call *call, struct wla_bytes name, struct wla_bytes value);
void grpc_call_headers_end(struct grpc_call *call);
void grpc_call_data(struct grpc_call *call, const uint8_t *data, size_t size);
void grpc_call_request_end(struct grpc_call *call);

/* Wipes what has arrived of the message. */
void grpc_call_drop_message(struct grpc_call *call);

/* The time of the call is up. */
void grpc_call_expire(struct grpc_call *call);

/* What is left to be sent of the reply, its prefix included; then the next size bytes of it. */
size_t grpc_call_reply_left(const struct grpc_call *call);
int grpc_call_reply_take(struct grpc_call *call, size_t size, struct buf *out,
                         struct wla_error *err) _must_check_;
