/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A handler for h2_connection: replies at once with reply_size bytes, or holds its calls. */

#include "keyprovider/h2_connection.h"

struct echo {
        struct grpc_handler handler;
        size_t reply_size; /* 0: as many bytes as the request has */
        bool hold;

        unsigned started;
        unsigned cancelled;
        size_t message_size; /* of the last call */
        uint32_t message_sum;
        char method[128];
        size_t held_count;
        struct grpc_call *held[256];
};

void echo_init(struct echo *echo);

/* Replies to, or fails, the oldest held call. */
void echo_reply(struct echo *echo);
void echo_fail(struct echo *echo, const struct wla_error *err);
