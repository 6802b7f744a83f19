/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "keyprovider/grpc_call.h"
#include "keyprovider/h2_session.h"

/* RFC 9113 section 6.5.2: what a header counts besides its name and value. */
#define HEADER_OVERHEAD 32u

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
