/* SPDX-License-Identifier: Apache-2.0 */
#include "echo_handler.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static void reply(struct echo *echo, struct grpc_call *call) {
        size_t size = echo->reply_size > 0 ? echo->reply_size : echo->message_size;
        struct wla_secret *secret;
        struct wla_error err = {0};

        if (wla_secret_new(size > 0 ? size : 1, &secret, &err) < 0) {
                grpc_call_fail(call, &err);
                return;
        }
        memset(wla_secret_fill(secret), 'r', wla_secret_view(secret).size);
        grpc_call_reply(call, secret);
}

static void start(void *self, struct grpc_call *call, const char *method, struct buf *message) {
        struct echo *echo = self;

        echo->started++;
        echo->message_size = message->size;
        echo->message_sum = 0;
        for (size_t i = 0; i < message->size; i++)
                echo->message_sum = echo->message_sum * 31 + message->data[i];
        (void)snprintf(echo->method, sizeof(echo->method), "%s", method);
        grpc_call_set_userdata(call, echo);
        if (echo->hold)
                echo->held[echo->held_count++] = call;
        else
                reply(echo, call);
}

static void drop_held(struct echo *echo, size_t at) {
        echo->held_count--;
        memmove(echo->held + at, echo->held + at + 1,
                (echo->held_count - at) * sizeof(echo->held[0]));
}

static void cancel(void *self, struct grpc_call *call) {
        struct echo *echo = self;
        size_t at = 0;

        ck_assert_ptr_eq(grpc_call_userdata(call), echo);
        while (at < echo->held_count && echo->held[at] != call)
                at++;
        ck_assert_uint_lt(at, echo->held_count);
        drop_held(echo, at);
        echo->cancelled++;
}

void echo_init(struct echo *echo) {
        *echo = (struct echo){.handler = {.start = start, .cancel = cancel, .self = echo}};
}

void echo_reply(struct echo *echo) {
        struct grpc_call *call = echo->held[0];

        drop_held(echo, 0);
        reply(echo, call);
}

void echo_fail(struct echo *echo, const struct wla_error *err) {
        struct grpc_call *call = echo->held[0];

        drop_held(echo, 0);
        grpc_call_fail(call, err);
}
