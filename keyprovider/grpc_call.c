/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/grpc_call.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/wiping_alloc.h"
#include "keyprovider/h2_session.h"

/* RFC 9113 section 6.5.2: what a header counts besides its name and value. */
#define HEADER_OVERHEAD 32u

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

static void drop_body(struct grpc_call *call) {
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

        drop_body(call);
        (void)wla_secret_free(call->reply);
        wiping_free(call);
}

static bool bytes_equal(struct wla_bytes bytes, const char *text) {
        return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

static void take_path(struct grpc_call *call, struct wla_bytes value) {
        if (value.size >= sizeof(call->path)) {
                (void)wla_fail(&call->refusal, WLA_E_UNSUPPORTED, "unknown method");
                return;
        }

        memcpy(call->path, value.data, value.size);
        call->path[value.size] = '\0';
}

static void take_timeout(struct grpc_call *call, struct wla_bytes value) {
        uint64_t timeout_usec;

        if (!grpc_timeout_parse((const char *)value.data, value.size, &timeout_usec))
                (void)wla_fail(&call->refusal, WLA_E_INPUT, "malformed grpc-timeout");
        else if (timeout_usec < call->connection->limits.call_timeout_usec)
                call->deadline_usec = call->arrived_usec + timeout_usec;
}

static int fail_compressed(struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_UNSUPPORTED, "switch compression off in the client",
                             "compressed messages are not supported");
}

void grpc_call_header(struct grpc_call *call, struct wla_bytes name, struct wla_bytes value) {
        if (call->headers_done || call->refusal.code != WLA_OK)
                return;

        call->headers_size += name.size + value.size + HEADER_OVERHEAD;
        if (call->headers_size > H2_HEADER_LIST_MAX)
                (void)wla_fail(&call->refusal, WLA_E_BUSY, "more than %u bytes of headers",
                               H2_HEADER_LIST_MAX);
        else if (bytes_equal(name, ":path"))
                take_path(call, value);
        else if (bytes_equal(name, ":method"))
                call->is_post = bytes_equal(value, "POST");
        else if (bytes_equal(name, "content-type"))
                call->is_grpc = grpc_content_type_valid((const char *)value.data, value.size);
        else if (bytes_equal(name, "grpc-timeout"))
                take_timeout(call, value);
        else if (bytes_equal(name, "grpc-encoding") && !bytes_equal(value, "identity"))
                (void)fail_compressed(&call->refusal);
}

void grpc_call_headers_end(struct grpc_call *call) {
        call->headers_done = true;

        if (call->refusal.code != WLA_OK) {
                grpc_call_fail(call, &call->refusal);
                return;
        }

        if (!call->is_post || !call->is_grpc) {
                call->ended = true;
                h2_send_http_error(call, call->is_post ? "415" : "405");
        }
}

static int take_prefix(struct grpc_call *call, struct wla_error *err) {
        struct grpc_prefix prefix = grpc_prefix_read(call->prefix);
        size_t max = call->connection->limits.message_max;

        if (prefix.compressed)
                return fail_compressed(err);
        if (prefix.size > max)
                return wla_fail(err, WLA_E_BUSY,
                                "a request of %" PRIu32 " bytes is above the limit of %zu",
                                prefix.size, max);

        call->message_size = prefix.size;
        call->message.limit = prefix.size;
        return 0;
}

static int take_message(struct grpc_call *call, const uint8_t *data, size_t size,
                        struct wla_error *err) {
        struct h2_connection *connection = call->connection;

        if (size > call->message_size - call->message.size)
                return wla_fail(err, WLA_E_INPUT, "more than one message in a request");
        if (size > H2_BODIES_MAX * connection->limits.message_max - connection->bodies_size)
                return wla_fail_hint(err, WLA_E_BUSY, "send fewer calls at a time",
                                     "too many unfinished requests on one connection");

        if (buf_append(&call->message, data, size, err) < 0)
                return -1;
        connection->bodies_size += size;
        return 0;
}

static int take_data(struct grpc_call *call, const uint8_t *data, size_t size,
                     struct wla_error *err) {
        size_t wanted = GRPC_PREFIX_SIZE - call->prefix_size;
        size_t now = size < wanted ? size : wanted;

        if (now > 0) {
                memcpy(call->prefix + call->prefix_size, data, now);
                call->prefix_size += now;
                if (call->prefix_size == GRPC_PREFIX_SIZE && take_prefix(call, err) < 0)
                        return -1;
        }

        return size == now ? 0 : take_message(call, data + now, size - now, err);
}

void grpc_call_data(struct grpc_call *call, const uint8_t *data, size_t size) {
        struct wla_error err = {0};

        if (!call->ended && take_data(call, data, size, &err) < 0)
                grpc_call_fail(call, &err);
}

static int check_request(const struct grpc_call *call, struct wla_error *err) {
        if (call->prefix_size < GRPC_PREFIX_SIZE || call->message.size < call->message_size)
                return wla_fail(err, WLA_E_INPUT, "the request ends inside its message");
        if (call->deadline_usec <= call->connection->now_usec)
                return wla_fail(err, WLA_E_TIMEOUT, "the time limit of the request has passed");
        return 0;
}

void grpc_call_request_end(struct grpc_call *call) {
        struct h2_connection *connection = call->connection;
        struct wla_error err = {0};

        if (call->ended)
                return;

        if (check_request(call, &err) < 0) {
                grpc_call_fail(call, &err);
                return;
        }

        h2_flood_credit(&connection->flood);
        connection->bodies_size -= call->message.size;
        _cleanup_buf_ struct buf message = call->message;
        call->message = (struct buf){0};
        call->started = true;
        connection->handler->start(connection->handler->self, call, call->path, &message);
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
        drop_body(call);
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
