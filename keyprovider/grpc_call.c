/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/grpc_call.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/wiping_alloc.h"
#include "keyprovider/h2_session.h"

/* The longest text of struct wla_error, a hint, and what stands in front. */
#define STATUS_TEXT_MAX 1024u

/* After the answer to an overdue call: then its stream is reset, whether the peer has read or not. */
#define STALL_GRACE_USEC USEC_PER_SEC

static const char hint_timeout[] = "the journal of wlagentd names what it waited for";

struct grpc_call *grpc_call_new(struct h2_connection *connection, int32_t stream_id) {
        struct grpc_call *call = wiping_calloc(1, sizeof(*call));
        if (!call)
                return NULL;

        call->connection = connection;
        call->stream_id = stream_id;
        call->arrived_usec = connection->now_usec;
        call->deadline_usec = connection->now_usec + connection->limits.call_timeout_usec;
        call->next = connection->calls;
        call->link = &connection->calls;
        if (call->next)
                call->next->link = &call->next;
        connection->calls = call;
        connection->calls_count++;
        return call;
}

void grpc_call_drop_message(struct grpc_call *call) {
        call->connection->bodies_size -= call->message.size;
        buf_clear(&call->message);
}

void grpc_call_free(struct grpc_call *call) {
        struct h2_connection *connection = call->connection;

        if (call->started && !call->ended)
                connection->handler->cancel(connection->handler->self, call);

        *call->link = call->next;
        if (call->next)
                call->next->link = call->link;
        connection->calls_count--;
        connection->idle_since_usec = connection->now_usec;
        connection->idle_since_inexact = true;

        grpc_call_drop_message(call);
        (void)wla_secret_free(call->reply);
        wiping_free(call);
}

/* CRI-O counts errors with these words as failures of the registry. */
static void avoid_registry_words(char *text) {
        static const char *const phrases[] = {"connection refused", "connection timed out",
                                              "404 (Not Found)"};

        for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
                char *at = text;

                while ((at = strstr(at, phrases[i])))
                        *strchr(at, ' ') = '-';
        }
}

static void format_status(const struct wla_error *err, char *to, size_t size) {
        static const char name[] = "wlagent: ";

        (void)snprintf(to, size, "%s", name);
        to += sizeof(name) - 1;
        size -= sizeof(name) - 1;

        /* What the kernel or a library told us is for the journal only. */
        if (err->code == WLA_E_SYSTEM)
                (void)snprintf(to, size, "internal error (see the journal of wlagentd)");
        else
                wla_error_format(err, to, size);
        avoid_registry_words(to);
}

static void end_call(struct grpc_call *call) {
        assert(!call->ended);
        call->ended = true;
        grpc_call_drop_message(call);
}

static void wake(struct h2_connection *connection) {
        if (connection->inside == 0)
                connection->wake(connection->userdata);
}

void grpc_call_reply(struct grpc_call *call, struct wla_secret *message) {
        end_call(call);
        call->reply = message;
        grpc_prefix_write((uint32_t)wla_secret_view(message).size, call->reply_prefix);
        h2_send_reply(call);
        wake(call->connection);
}

void grpc_call_fail(struct grpc_call *call, const struct wla_error *err) {
        char text[STATUS_TEXT_MAX];
        char encoded[2 * STATUS_TEXT_MAX];
        char status[sizeof("4294967295")];

        end_call(call);
        format_status(err, text, sizeof(text));
        (void)grpc_percent_encode(text, encoded, sizeof(encoded));
        (void)snprintf(status, sizeof(status), "%d", wla_code_grpc_status(err->code));
        h2_send_status(call, status, encoded);
        wake(call->connection);
}

void grpc_call_expire(struct grpc_call *call) {
        struct h2_connection *connection = call->connection;
        struct wla_error err = {0};

        if (call->ended) {
                h2_session_reset(call, NGHTTP2_CANCEL);
                return;
        }

        /* Inside a header block no other frame may be read: all the connection waits. */
        if (!call->headers_done) {
                h2_session_terminate(connection, NGHTTP2_ENHANCE_YOUR_CALM);
                call->deadline_usec = UINT64_MAX;
                return;
        }

        if (call->started)
                connection->handler->cancel(connection->handler->self, call);
        (void)wla_fail_hint(&err, WLA_E_TIMEOUT, hint_timeout, "no answer within %" PRIu64 " ms",
                            (call->deadline_usec - call->arrived_usec) / USEC_PER_MSEC);
        call->deadline_usec = connection->now_usec + STALL_GRACE_USEC;
        grpc_call_fail(call, &err);
}

size_t grpc_call_reply_left(const struct grpc_call *call) {
        return GRPC_PREFIX_SIZE + wla_secret_view(call->reply).size - call->reply_sent;
}

int grpc_call_reply_take(struct grpc_call *call, size_t size, struct buf *out,
                         struct wla_error *err) {
        if (call->reply_sent < GRPC_PREFIX_SIZE) {
                size_t left = GRPC_PREFIX_SIZE - call->reply_sent;
                size_t now = size < left ? size : left;

                if (buf_append(out, call->reply_prefix + call->reply_sent, now, err) < 0)
                        return -1;
                call->reply_sent += now;
                size -= now;
        }

        if (size == 0)
                return 0;
        size_t at = call->reply_sent - GRPC_PREFIX_SIZE;
        if (buf_append(out, wla_secret_view(call->reply).data + at, size, err) < 0)
                return -1;
        call->reply_sent += size;
        return 0;
}

uint64_t grpc_call_deadline_usec(const struct grpc_call *call) {
        return call->deadline_usec;
}

const struct key_peer *grpc_call_peer(const struct grpc_call *call) {
        return &call->connection->peer;
}

void *grpc_call_userdata(const struct grpc_call *call) {
        return call->userdata;
}

void grpc_call_set_userdata(struct grpc_call *call, void *userdata) {
        call->userdata = userdata;
}
