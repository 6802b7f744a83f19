/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What nghttp2 and the calls of one connection share.  Private to h2_*.c and grpc_call.c. */

#include <nghttp2/nghttp2.h>

#include "keyprovider/grpc_call.h"
#include "keyprovider/h2_flood.h"

/* SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 section 6.5.2): what ocicrypt's clients send is below 300. */
#define H2_HEADER_LIST_MAX 8192u

/* Bodies of unfinished requests on one connection, in units of the largest message. */
#define H2_BODIES_MAX 2u

/* What a peer that does not read gets to take its last frames. */
#define H2_CLOSE_GRACE_USEC USEC_PER_SEC

struct h2_connection {
        nghttp2_session *session;
        const struct grpc_handler *handler;
        struct h2_limits limits;
        struct key_peer peer;
        void (*wake)(void *userdata);
        void *userdata;

        struct grpc_call *calls;
        size_t calls_count;
        size_t bodies_size; /* of all requests that the handler does not have yet */

        uint64_t now_usec; /* of the present or last feed or tick */
        uint64_t idle_since_usec;
        bool idle_since_inexact; /* the last call ended at a time that was not told */
        uint64_t close_at_usec;  /* 0: not closing */
        struct h2_flood flood;
        const char *fault; /* why our callbacks broke the connection; a literal */
        bool broken;

        unsigned inside; /* feed, drain or tick is running */
        struct buf *out; /* of the present drain */
        const uint8_t *pending;
        size_t pending_size; /* serialised by nghttp2, not yet in any out */
};

int h2_session_new(struct h2_connection *connection, struct wla_error *err) _must_check_;

/* The call on a stream; NULL when there is none any more. */
struct grpc_call *h2_session_call(nghttp2_session *session, int32_t stream_id);

/* Submit frames; without memory the connection is broken. */
void h2_session_terminate(struct h2_connection *connection, uint32_t error_code);
void h2_session_reset(struct grpc_call *call, uint32_t error_code); /* frees the call */
void h2_session_check(struct h2_connection *connection, int outcome);

void h2_receive_set_callbacks(nghttp2_session_callbacks *callbacks);

void h2_send_set_callbacks(nghttp2_session_callbacks *callbacks);
void h2_send_reply(struct grpc_call *call);
void h2_send_status(struct grpc_call *call, const char *grpc_status, const char *grpc_message);
void h2_send_http_error(struct grpc_call *call, const char *http_status);
