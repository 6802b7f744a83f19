/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/clock.h"
#include "echo_handler.h"
#include "fail_allocation.h"
#include "h2_client.h"
#include "keyprovider/grpc_message.h"

#define PATH "/a.B/C"

struct fixture {
        struct echo echo;
        struct client client;
        struct buf body;
};

static void set_up_with(struct fixture *fixture, const struct h2_limits *limits,
                        bool no_auto_window) {
        struct wla_error err = {0};

        *fixture = (struct fixture){.body.limit = 1 << 20};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        echo_init(&fixture->echo);
        client_open(&fixture->client, &fixture->echo.handler, limits, no_auto_window);
}

static void set_up(struct fixture *fixture) {
        set_up_with(fixture, NULL, false);
}

static void tear_down(struct fixture *fixture) {
        client_close(&fixture->client);
        buf_clear(&fixture->body);
        ck_assert_uint_eq(fixture->echo.held_count, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
}

/* A message of size counted bytes behind its prefix; returns what the handler should sum up. */
static uint32_t make_body(struct buf *body, size_t size) {
        uint8_t prefix[GRPC_PREFIX_SIZE];
        struct wla_error err = {0};
        uint32_t sum = 0;

        grpc_prefix_write((uint32_t)size, prefix);
        ck_assert_int_eq(buf_append(body, prefix, sizeof(prefix), &err), 0);
        for (size_t i = 0; i < size; i++) {
                uint8_t byte = (uint8_t)(i * 7);

                ck_assert_int_eq(buf_append(body, &byte, 1, &err), 0);
                sum = sum * 31 + byte;
        }
        return sum;
}

static struct client_reply *post(struct fixture *fixture) {
        return client_post(&fixture->client, PATH, fixture->body.data, fixture->body.size);
}

static void expect_ok(const struct client_reply *reply, size_t size) {
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

/* Trailers only, as gRPC wants errors. */
static void expect_status(const struct client_reply *reply, int status, const char *text) {
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

START_TEST(settings_come_first_and_at_once) {
        struct fixture fixture;
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};

        set_up(&fixture);
        ck_assert_int_eq(h2_connection_drain(fixture.client.server, &out, &err), 0);
        ck_assert_uint_ge(out.size, 9);
        ck_assert_uint_eq(out.data[3], NGHTTP2_SETTINGS);
        ck_assert_uint_eq(out.data[4], 0);
        ck_assert_uint_eq(out.size, 9u + out.data[2]);
        tear_down(&fixture);
}
END_TEST

START_TEST(one_call) {
        struct fixture fixture;

        set_up(&fixture);
        uint32_t sum = make_body(&fixture.body, 700);
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        expect_ok(reply, 700);
        ck_assert_str_eq(fixture.echo.method, PATH);
        ck_assert_uint_eq(fixture.echo.message_sum, sum);
        ck_assert_uint_eq(fixture.client.wakes, 0);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 0);
        ck_assert(!h2_connection_finished(fixture.client.server));
        tear_down(&fixture);
}
END_TEST

START_TEST(byte_by_byte) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.client.chunk = 1;
        fixture.client.out_limit = 24;
        uint32_t sum = make_body(&fixture.body, 1500);
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        expect_ok(reply, 1500);
        ck_assert_uint_eq(fixture.echo.message_sum, sum);
        tear_down(&fixture);
}
END_TEST

/* The client sends its request before it has read a byte. */
START_TEST(settings_read_late) {
        struct fixture fixture;

        set_up(&fixture);
        (void)make_body(&fixture.body, 100);
        struct client_reply *reply = post(&fixture);
        ck_assert(client_send(&fixture.client));
        ck_assert_uint_eq(fixture.echo.started, 1);
        client_exchange(&fixture.client);
        expect_ok(reply, 100);
        tear_down(&fixture);
}
END_TEST

START_TEST(ping_is_answered) {
        struct fixture fixture;

        set_up(&fixture);
        ck_assert_int_eq(nghttp2_submit_ping(fixture.client.session, 0,
                                             (const uint8_t *)"\2\4\1\20\20\11\16\7"),
                         0);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.client.pings, 1);
        tear_down(&fixture);
}
END_TEST

START_TEST(large_request_passes_the_windows) {
        struct fixture fixture;

        set_up(&fixture);
        uint32_t sum = make_body(&fixture.body, 130000);
        fixture.echo.reply_size = 10;
        struct client_reply *reply = post(&fixture);

        /* Without WINDOW_UPDATE the client stops at 65535 bytes. */
        (void)client_send(&fixture.client);
        ck_assert_uint_eq(reply->request_sent, 65535);
        client_exchange(&fixture.client);
        expect_ok(reply, 10);
        ck_assert_uint_ge(fixture.client.window_updates, 2);
        ck_assert_uint_eq(fixture.echo.message_sum, sum);
        tear_down(&fixture);
}
END_TEST

START_TEST(large_reply_is_split_and_respects_the_window) {
        struct fixture fixture;

        set_up_with(&fixture, NULL, true);
        (void)make_body(&fixture.body, 1);
        fixture.echo.reply_size = 65536;
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(reply->body.size, 65535);
        ck_assert_uint_eq(fixture.client.largest_data, 16384);
        ck_assert(!reply->closed);
        ck_assert_uint_gt(wla_secret_heap_used(), 0);

        int32_t stream_id = client_stream_id(&fixture.client, reply);
        ck_assert_int_eq(nghttp2_submit_window_update(fixture.client.session, 0, 0, 1000), 0);
        ck_assert_int_eq(nghttp2_submit_window_update(fixture.client.session, 0, stream_id, 1000),
                         0);
        client_exchange(&fixture.client);
        expect_ok(reply, 65536);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        tear_down(&fixture);
}
END_TEST

START_TEST(stalled_reply_is_dropped_at_the_deadline) {
        struct fixture fixture;

        set_up_with(&fixture, NULL, true);
        (void)make_body(&fixture.body, 1);
        fixture.echo.reply_size = 65536;
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        client_pass(&fixture.client, client_limits.call_timeout_usec);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 0);
        client_exchange(&fixture.client);
        ck_assert(reply->closed);
        ck_assert_uint_eq(reply->close_code, NGHTTP2_CANCEL);
        ck_assert_uint_eq(fixture.echo.cancelled, 0);
        tear_down(&fixture);
}
END_TEST

/* A DATA frame is in nghttp2's hands, but found no room, when the call's time is up. */
START_TEST(reply_dropped_between_two_drains) {
        struct fixture fixture;
        struct wla_error err = {0};
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(200);

        set_up(&fixture);
        (void)make_body(&fixture.body, 1);
        fixture.echo.reply_size = 40000;
        (void)post(&fixture);
        (void)client_send(&fixture.client);
        for (int i = 0; i < 20; i++) {
                ck_assert_int_eq(h2_connection_drain(fixture.client.server, &out, &err), 0);
                if (i % 2 == 0)
                        buf_consume(&out, out.size / 3);
        }
        client_pass(&fixture.client, client_limits.call_timeout_usec);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        buf_reset(&out);
        for (int i = 0; i < 20; i++) {
                ck_assert_int_eq(h2_connection_drain(fixture.client.server, &out, &err), 0);
                buf_reset(&out);
        }
        tear_down(&fixture);
}
END_TEST

static struct client_reply *request_with(struct fixture *fixture, const char *method,
                                         nghttp2_nv content_type, nghttp2_nv extra) {
        const nghttp2_nv headers[] = {
                HEADER(":method", method),
                HEADER(":scheme", "http"),
                HEADER(":path", PATH),
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

START_TEST(what_is_no_grpc_gets_an_http_status) {
        const nghttp2_nv grpc = HEADER("content-type", "application/grpc");
        const nghttp2_nv text = HEADER("content-type", "text/plain");
        const nghttp2_nv extra = HEADER("x-extra", "1");
        struct fixture fixture;

        set_up(&fixture);
        (void)make_body(&fixture.body, 10);
        ck_assert_int_eq(request_with(&fixture, "POST", text, extra)->http_status, 415);
        ck_assert_int_eq(request_with(&fixture, "POST", extra, extra)->http_status, 415);
        ck_assert_int_eq(request_with(&fixture, "PUT", grpc, extra)->http_status, 405);
        ck_assert_uint_eq(fixture.echo.started, 0);

        /* Any authority, no te, and the connection goes on. */
        expect_ok(request_with(&fixture, "POST", grpc, extra), 10);
        tear_down(&fixture);
}
END_TEST

START_TEST(compression_is_not_implemented) {
        const nghttp2_nv grpc = HEADER("content-type", "application/grpc+proto");
        const nghttp2_nv gzip = HEADER("grpc-encoding", "gzip");
        const nghttp2_nv identity = HEADER("grpc-encoding", "identity");
        struct fixture fixture;

        set_up(&fixture);
        (void)make_body(&fixture.body, 10);
        expect_status(request_with(&fixture, "POST", grpc, gzip), 12, "compressed");
        expect_ok(request_with(&fixture, "POST", grpc, identity), 10);
        fixture.body.data[0] = 1;
        expect_status(request_with(&fixture, "POST", grpc, identity), 12, "compressed");
        ck_assert_uint_eq(fixture.echo.started, 1);
        tear_down(&fixture);
}
END_TEST

START_TEST(message_framing) {
        static const struct {
                const char *bytes;
                size_t size;
                int status;
                const char *text;
        } rows[] = {
                {"", 0, 3, "ends inside"},
                {"\0\0\0", 3, 3, "ends inside"},
                {"\0\0\0\0\2a", 6, 3, "ends inside"},
                {"\0\0\0\0\1ab", 7, 3, "more than one message"},
                {"\0\0\0\0\0\0\0\0\0\0", 10, 3, "more than one message"},
                {"\0\0\4\0\1", 5, 8, "262145 bytes is above the limit of 262144"},
                {"\0\xff\xff\xff\xff", 5, 8, "above the limit"},
                {"\1\0\0\0\0", 5, 12, "compressed"},
        };
        struct fixture fixture;

        set_up(&fixture);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct client_reply *reply = client_post(&fixture.client, PATH, rows[i].bytes,
                                                         rows[i].size);

                client_exchange(&fixture.client);
                expect_status(reply, rows[i].status, rows[i].text);
        }

        struct client_reply *none = client_post(&fixture.client, PATH, NULL, 0);
        client_exchange(&fixture.client);
        expect_status(none, 3, "ends inside");
        ck_assert_uint_eq(fixture.echo.started, 0);

        struct client_reply *empty = client_post(&fixture.client, PATH, "\0\0\0\0\0", 5);
        client_exchange(&fixture.client);
        expect_ok(empty, 1);
        ck_assert_uint_eq(fixture.echo.message_size, 0);
        tear_down(&fixture);
}
END_TEST

/* An answer before the end of the request: the client is told to stop. */
START_TEST(early_answer_ends_the_upload) {
        struct fixture fixture;

        set_up(&fixture);
        (void)make_body(&fixture.body, 200000);
        fixture.body.data[0] = 1;
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_int_eq(reply->grpc_status, 12);
        ck_assert(reply->closed);
        ck_assert_uint_lt(reply->request_sent, 80000);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 0);

        buf_reset(&fixture.body);
        (void)make_body(&fixture.body, 100);
        reply = post(&fixture);
        client_exchange(&fixture.client);
        expect_ok(reply, 100);
        tear_down(&fixture);
}
END_TEST

START_TEST(header_list_is_bounded) {
        char value[8000];
        struct fixture fixture;

        memset(value, 'x', sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        const nghttp2_nv grpc = HEADER("content-type", "application/grpc");
        const nghttp2_nv large = HEADER("x-large", value);
        const nghttp2_nv small = HEADER("x-small", "1");

        set_up(&fixture);
        (void)make_body(&fixture.body, 10);
        expect_status(request_with(&fixture, "POST", grpc, large), 8, "8192 bytes of headers");
        expect_ok(request_with(&fixture, "POST", grpc, small), 10);
        ck_assert_uint_eq(fixture.echo.started, 1);
        tear_down(&fixture);
}
END_TEST

START_TEST(two_streams_at_once) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 50);
        struct client_reply *first = post(&fixture);
        struct client_reply *second = post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 2);

        struct grpc_call *call = fixture.echo.held[0];
        fixture.echo.held[0] = fixture.echo.held[1];
        fixture.echo.held[1] = call;
        echo_reply(&fixture.echo);
        ck_assert_uint_eq(fixture.client.wakes, 1);
        client_exchange(&fixture.client);
        expect_ok(second, 50);
        ck_assert(!first->closed);
        echo_reply(&fixture.echo);
        client_exchange(&fixture.client);
        expect_ok(first, 50);
        tear_down(&fixture);
}
END_TEST

START_TEST(stream_limit) {
        struct fixture fixture;
        struct client_reply *replies[40];

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);

        /* All are sent before our SETTINGS are read. */
        for (size_t i = 0; i < 40; i++)
                replies[i] = post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.echo.started, 32);
        for (size_t i = 0; i < 40; i++)
                ck_assert_uint_eq(replies[i]->closed &&
                                          replies[i]->close_code == NGHTTP2_REFUSED_STREAM,
                                  i >= 32);
        while (fixture.echo.held_count > 0)
                echo_reply(&fixture.echo);
        client_exchange(&fixture.client);
        for (size_t i = 0; i < 32; i++)
                expect_ok(replies[i], 5);
        tear_down(&fixture);
}
END_TEST

START_TEST(deadline_ends_a_held_call) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        uint64_t deadline_usec = fixture.client.now_usec + client_limits.call_timeout_usec;
        ck_assert_uint_eq(grpc_call_deadline_usec(fixture.echo.held[0]), deadline_usec);
        ck_assert_uint_eq(h2_connection_next_usec(fixture.client.server), deadline_usec);

        client_pass(&fixture.client, client_limits.call_timeout_usec - 1);
        client_exchange(&fixture.client);
        ck_assert(!reply->closed);
        client_pass(&fixture.client, 1);
        ck_assert_uint_eq(fixture.echo.cancelled, 1);
        client_exchange(&fixture.client);
        expect_status(reply, 4, "no answer within 30000 ms");
        tear_down(&fixture);
}
END_TEST

START_TEST(deadline_of_the_client) {
        const nghttp2_nv grpc = HEADER("content-type", "application/grpc");
        const nghttp2_nv shorter = HEADER("grpc-timeout", "50m");
        const nghttp2_nv longer = HEADER("grpc-timeout", "2H");
        const nghttp2_nv zero = HEADER("grpc-timeout", "0m");
        const nghttp2_nv broken = HEADER("grpc-timeout", "soon");
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);
        uint64_t now_usec = fixture.client.now_usec;
        struct client_reply *reply = request_with(&fixture, "POST", grpc, shorter);
        ck_assert_uint_eq(grpc_call_deadline_usec(fixture.echo.held[0]),
                          now_usec + 50 * USEC_PER_MSEC);
        client_pass(&fixture.client, 50 * USEC_PER_MSEC);
        client_exchange(&fixture.client);
        expect_status(reply, 4, "50 ms");

        now_usec = fixture.client.now_usec;
        (void)request_with(&fixture, "POST", grpc, longer);
        ck_assert_uint_eq(grpc_call_deadline_usec(fixture.echo.held[0]),
                          now_usec + client_limits.call_timeout_usec);
        expect_status(request_with(&fixture, "POST", grpc, zero), 4, "time limit");
        expect_status(request_with(&fixture, "POST", grpc, broken), 3, "grpc-timeout");
        ck_assert_uint_eq(fixture.echo.started, 2);
        tear_down(&fixture);
}
END_TEST

START_TEST(deadline_of_an_unfinished_request) {
        struct fixture fixture;

        set_up(&fixture);
        (void)make_body(&fixture.body, 1000);
        struct client_reply *reply = post(&fixture);
        reply->request_hold = 500;
        client_exchange(&fixture.client);
        client_pass(&fixture.client, client_limits.call_timeout_usec);
        client_exchange(&fixture.client);
        ck_assert_int_eq(reply->grpc_status, 4);
        ck_assert(reply->closed);
        ck_assert_uint_eq(fixture.echo.started, 0);
        ck_assert_uint_eq(fixture.echo.cancelled, 0);
        tear_down(&fixture);
}
END_TEST

START_TEST(reset_cancels) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_int_eq(nghttp2_submit_rst_stream(fixture.client.session, 0,
                                                   client_stream_id(&fixture.client, reply),
                                                   NGHTTP2_CANCEL),
                         0);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.echo.cancelled, 1);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 0);
        tear_down(&fixture);
}
END_TEST

START_TEST(a_client_that_vanishes_cancels) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);
        (void)post(&fixture);
        (void)post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.echo.held_count, 2);
        tear_down(&fixture);
        ck_assert_uint_eq(fixture.echo.cancelled, 2);
}
END_TEST

START_TEST(goaway_of_the_client_lets_the_call_end) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_int_eq(nghttp2_submit_goaway(fixture.client.session, 0, 0, NGHTTP2_NO_ERROR,
                                               (const uint8_t *)"bye", 3),
                         0);
        client_exchange(&fixture.client);
        ck_assert(!h2_connection_finished(fixture.client.server));
        echo_reply(&fixture.echo);
        client_exchange(&fixture.client);
        expect_ok(reply, 5);
        ck_assert(h2_connection_finished(fixture.client.server));
        tear_down(&fixture);
}
END_TEST

START_TEST(shutdown_finishes_calls_and_takes_no_more) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);
        struct client_reply *reply = post(&fixture);
        client_exchange(&fixture.client);
        struct client_reply *late = post(&fixture);
        h2_connection_shutdown(fixture.client.server);
        ck_assert(client_receive(&fixture.client));
        (void)late;
        client_exchange(&fixture.client);
        ck_assert(fixture.client.goaway);
        ck_assert_uint_eq(fixture.client.goaway_code, NGHTTP2_NO_ERROR);
        ck_assert_uint_eq(fixture.echo.started, 1);
        ck_assert(!h2_connection_finished(fixture.client.server));
        echo_reply(&fixture.echo);
        client_exchange(&fixture.client);
        expect_ok(reply, 5);
        ck_assert(h2_connection_finished(fixture.client.server));
        tear_down(&fixture);
}
END_TEST

START_TEST(idle_connection_is_closed) {
        struct fixture fixture;

        set_up(&fixture);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(h2_connection_next_usec(fixture.client.server),
                          fixture.client.now_usec + client_limits.idle_timeout_usec);
        client_pass(&fixture.client, client_limits.idle_timeout_usec);
        client_exchange(&fixture.client);
        ck_assert(fixture.client.goaway);
        ck_assert_uint_eq(fixture.client.goaway_code, NGHTTP2_NO_ERROR);
        ck_assert(h2_connection_finished(fixture.client.server));
        tear_down(&fixture);
}
END_TEST

/* A peer that does not read the GOAWAY either. */
START_TEST(idle_connection_is_closed_unread) {
        struct fixture fixture;

        set_up(&fixture);
        client_pass(&fixture.client, client_limits.idle_timeout_usec);
        ck_assert(!h2_connection_finished(fixture.client.server));
        uint64_t next_usec = h2_connection_next_usec(fixture.client.server);
        ck_assert_uint_gt(next_usec, fixture.client.now_usec);
        client_pass(&fixture.client, next_usec - fixture.client.now_usec);
        ck_assert(h2_connection_finished(fixture.client.server));
        tear_down(&fixture);
}
END_TEST

START_TEST(idle_time_counts_from_the_last_call) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);
        (void)post(&fixture);
        client_exchange(&fixture.client);
        client_pass(&fixture.client, 20 * USEC_PER_SEC);

        /* The reply comes from a worker, at a time the connection is not told. */
        fixture.client.now_usec += 5 * USEC_PER_SEC;
        echo_reply(&fixture.echo);
        client_receive(&fixture.client);
        uint64_t next_usec = h2_connection_next_usec(fixture.client.server);
        client_pass(&fixture.client, next_usec - fixture.client.now_usec);
        ck_assert(!fixture.client.goaway);
        client_exchange(&fixture.client);
        ck_assert(!fixture.client.goaway);
        next_usec = h2_connection_next_usec(fixture.client.server);
        client_pass(&fixture.client, next_usec - fixture.client.now_usec);
        client_exchange(&fixture.client);
        ck_assert(fixture.client.goaway);
        tear_down(&fixture);
}
END_TEST

START_TEST(texts_for_the_user) {
        static const char hint[] = "do this";
        struct fixture fixture;
        struct wla_error err = {0};
        struct client_reply *reply;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);

        reply = post(&fixture);
        client_exchange(&fixture.client);
        (void)wla_fail_hint(&err, WLA_E_DENIED, hint, "policy of 100%%\nsays \xc3\xa4");
        (void)wla_wrap(&err, "opening local:///a");
        echo_fail(&fixture.echo, &err);
        client_exchange(&fixture.client);
        expect_status(reply, 7,
                      "wlagent: opening local:///a: policy of 100%25%0Asays %C3%A4 (do this)");

        reply = post(&fixture);
        client_exchange(&fixture.client);
        (void)wla_fail_errno(&err, 13, "/secret/path");
        echo_fail(&fixture.echo, &err);
        client_exchange(&fixture.client);
        expect_status(reply, 13, "internal error (see the journal of wlagentd)");
        ck_assert_ptr_null(strstr(reply->grpc_message, "path"));

        /* Words that CRI-O takes for failures of the registry. */
        reply = post(&fixture);
        client_exchange(&fixture.client);
        (void)wla_fail(&err, WLA_E_UNAVAILABLE,
                       "connection refused, connection timed out, "
                       "404 (Not Found)");
        echo_fail(&fixture.echo, &err);
        client_exchange(&fixture.client);
        expect_status(reply, 14, "connection-refused, connection-timed out, 404-(Not Found)");
        tear_down(&fixture);
}
END_TEST

START_TEST(every_code_has_its_status) {
        struct fixture fixture;

        set_up(&fixture);
        fixture.echo.hold = true;
        (void)make_body(&fixture.body, 5);
        for (unsigned code = WLA_OK + 1; code < _WLA_CODE_MAX; code++) {
                struct wla_error err = {0};
                struct client_reply *reply = post(&fixture);

                client_exchange(&fixture.client);
                (void)wla_fail(&err, (enum wla_code)code, "some text");
                echo_fail(&fixture.echo, &err);
                client_exchange(&fixture.client);
                expect_status(reply, wla_code_grpc_status((enum wla_code)code), "");
        }
        tear_down(&fixture);
}
END_TEST

START_TEST(unfinished_bodies_are_bounded) {
        struct h2_limits limits = client_limits;
        struct fixture fixture;
        struct client_reply *replies[5];
        size_t refused = 0;

        limits.message_max = 10000;
        set_up_with(&fixture, &limits, false);
        (void)make_body(&fixture.body, 9000);
        for (size_t i = 0; i < 5; i++) {
                replies[i] = post(&fixture);
                replies[i]->request_hold = 100;
        }
        client_exchange(&fixture.client);
        for (size_t i = 0; i < 5; i++)
                refused += replies[i]->grpc_status == 8;
        ck_assert_uint_eq(refused, 3);
        for (size_t i = 0; i < 5; i++)
                if (replies[i]->grpc_status == -1)
                        client_resume(&fixture.client, replies[i]);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.echo.started, 2);

        /* What was counted has been given back. */
        for (size_t i = 0; i < 5; i++) {
                struct client_reply *reply = post(&fixture);

                client_exchange(&fixture.client);
                expect_ok(reply, 9000);
        }
        tear_down(&fixture);
}
END_TEST

/* A connection either works or fails cleanly, whichever allocation fails. */
START_TEST(failed_allocations) {
        struct h2_connection_options options = {.limits = &client_limits};
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(8192);
        struct fixture fixture;
        struct wla_error err = {0};
        const uint8_t *data;
        ssize_t size;
        unsigned failures = 0;

        set_up(&fixture);
        (void)make_body(&fixture.body, 700);
        (void)post(&fixture);
        while ((size = nghttp2_session_mem_send(fixture.client.session, &data)) > 0)
                ck_assert_int_eq(buf_append(&bytes, data, (size_t)size, &err), 0);
        options.handler = &fixture.echo.handler;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(65536);
                struct h2_connection *connection = NULL;

                int outcome = h2_connection_new(&options, 1, &connection, &err);
                if (outcome == 0)
                        outcome = h2_connection_feed(connection, bytes.data, bytes.size, 1, &err);
                if (outcome == 0)
                        outcome = h2_connection_drain(connection, &out, &err);
                connection = h2_connection_free(connection);
                fail_allocation_disarm();
                failures += outcome < 0;
                if (outcome < 0)
                        ck_assert_int_eq(err.code, WLA_E_BUSY);
                if (!fail_allocation_hit())
                        ck_assert_int_eq(outcome, 0);
                ck_assert_uint_eq(wla_secret_heap_used(), 0);
        }
        ck_assert_uint_gt(failures, 10);
        tear_down(&fixture);
}
END_TEST

SUITE_MAIN("h2_connection", settings_come_first_and_at_once, one_call, byte_by_byte,
           settings_read_late, ping_is_answered, large_request_passes_the_windows,
           large_reply_is_split_and_respects_the_window, stalled_reply_is_dropped_at_the_deadline,
           reply_dropped_between_two_drains, what_is_no_grpc_gets_an_http_status,
           compression_is_not_implemented, message_framing, early_answer_ends_the_upload,
           header_list_is_bounded, two_streams_at_once, stream_limit, deadline_ends_a_held_call,
           deadline_of_the_client, deadline_of_an_unfinished_request, reset_cancels,
           a_client_that_vanishes_cancels, goaway_of_the_client_lets_the_call_end,
           shutdown_finishes_calls_and_takes_no_more, idle_connection_is_closed,
           idle_connection_is_closed_unread, idle_time_counts_from_the_last_call,
           texts_for_the_user, every_code_has_its_status, unfinished_bodies_are_bounded,
           failed_allocations)
