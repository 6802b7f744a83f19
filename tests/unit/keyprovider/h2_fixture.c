/* SPDX-License-Identifier: Apache-2.0 */
#include "h2_fixture.h"

#include <check.h>
#include <string.h>

#include "keyprovider/grpc_message.h"

void fixture_open_with(struct fixture *fixture, const struct h2_limits *limits,
                       bool no_auto_window) {
        struct wla_error err = {0};

        *fixture = (struct fixture){.body.limit = 1 << 20};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        echo_init(&fixture->echo);
        client_open(&fixture->client, &fixture->echo.handler, limits, no_auto_window);
}

void fixture_open(struct fixture *fixture) {
        fixture_open_with(fixture, NULL, false);
}

void fixture_close(struct fixture *fixture) {
        client_close(&fixture->client);
        buf_clear(&fixture->body);
        ck_assert_uint_eq(fixture->echo.held_count, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
}

uint32_t fixture_fill(struct fixture *fixture, size_t size) {
        uint8_t prefix[GRPC_PREFIX_SIZE];
        struct wla_error err = {0};
        uint32_t sum = 0;

        buf_reset(&fixture->body);
        grpc_prefix_write((uint32_t)size, prefix);
        ck_assert_int_eq(buf_append(&fixture->body, prefix, sizeof(prefix), &err), 0);
        for (size_t i = 0; i < size; i++) {
                uint8_t byte = (uint8_t)(i * 7);

                ck_assert_int_eq(buf_append(&fixture->body, &byte, 1, &err), 0);
                sum = sum * 31 + byte;
        }
        return sum;
}

struct client_reply *fixture_post(struct fixture *fixture) {
        return client_post(&fixture->client, FIXTURE_PATH, fixture->body.data, fixture->body.size);
}

void expect_ok(const struct client_reply *reply, size_t size) {
        ck_assert_msg(reply->grpc_status == 0, "%d %s", reply->grpc_status, reply->grpc_message);
        ck_assert_int_eq(reply->http_status, 200);
        ck_assert_str_eq(reply->content_type, "application/grpc");
        ck_assert_uint_eq(reply->header_frames, 2);
        ck_assert(reply->ended && reply->closed);
        ck_assert_uint_eq(reply->close_code, NGHTTP2_NO_ERROR);
        ck_assert_uint_eq(reply->body.size, GRPC_PREFIX_SIZE + size);
        ck_assert_uint_eq(grpc_prefix_read(reply->body.data).size, size);
        for (size_t i = GRPC_PREFIX_SIZE; i < reply->body.size; i++)
                ck_assert_int_eq(reply->body.data[i], 'r');
}

void expect_status(const struct client_reply *reply, int status, const char *text) {
        ck_assert_msg(reply->grpc_status == status, "%d %s", reply->grpc_status,
                      reply->grpc_message);
        ck_assert_int_eq(reply->http_status, 200);
        ck_assert_str_eq(reply->content_type, "application/grpc");
        ck_assert_uint_eq(reply->header_frames, 1);
        ck_assert(reply->ended && reply->closed);
        ck_assert_uint_eq(reply->close_code, NGHTTP2_NO_ERROR);
        ck_assert_uint_eq(reply->body.size, 0);
        ck_assert_msg(strstr(reply->grpc_message, text), "%s", reply->grpc_message);
        ck_assert_msg(strncmp(reply->grpc_message, "wlagent: ", 9) == 0, "%s", reply->grpc_message);
}

struct client_reply *fixture_request(struct fixture *fixture, const char *method,
                                     nghttp2_nv content_type, nghttp2_nv extra) {
        const nghttp2_nv headers[] = {
                HEADER(":method", method),
                HEADER(":scheme", "http"),
                HEADER(":path", FIXTURE_PATH),
                HEADER(":authority", "unix:%2F%2F%2Fp"),
                content_type,
                extra,
        };
        struct client_reply *reply = client_request(&fixture->client, headers,
                                                    sizeof(headers) / sizeof(headers[0]),
                                                    fixture->body.data, fixture->body.size);

        client_exchange(&fixture->client);
        return reply;
}
