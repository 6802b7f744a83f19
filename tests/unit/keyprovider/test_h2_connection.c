/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/clock.h"
#include "fail_allocation.h"
#include "h2_fixture.h"

START_TEST(settings_come_first_and_at_once) {
        struct fixture fixture;
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};

        fixture_open(&fixture);
        ck_assert_int_eq(h2_connection_drain(fixture.client.server, &out, &err), 0);
        ck_assert_uint_ge(out.size, 9);
        ck_assert_uint_eq(out.data[3], NGHTTP2_SETTINGS);
        ck_assert_uint_eq(out.data[4], 0);
        ck_assert_uint_eq(out.size, 9u + out.data[2]);
        fixture_close(&fixture);
}
END_TEST

START_TEST(one_call) {
        struct fixture fixture;

        fixture_open(&fixture);
        uint32_t sum = fixture_fill(&fixture, 700);
        struct client_reply *reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        expect_ok(reply, 700);
        ck_assert_str_eq(fixture.echo.method, FIXTURE_PATH);
        ck_assert_uint_eq(fixture.echo.message_sum, sum);
        ck_assert_uint_eq(fixture.client.wakes, 0);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 0);
        ck_assert(!h2_connection_finished(fixture.client.server));
        fixture_close(&fixture);
}
END_TEST

START_TEST(byte_by_byte) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.client.chunk = 1;
        fixture.client.out_limit = 24;
        uint32_t sum = fixture_fill(&fixture, 1500);
        struct client_reply *reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        expect_ok(reply, 1500);
        ck_assert_uint_eq(fixture.echo.message_sum, sum);
        fixture_close(&fixture);
}
END_TEST

/* The client sends its request before it has read a byte. */
START_TEST(settings_read_late) {
        struct fixture fixture;

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 100);
        struct client_reply *reply = fixture_post(&fixture);
        ck_assert(client_send(&fixture.client));
        ck_assert_uint_eq(fixture.echo.started, 1);
        client_exchange(&fixture.client);
        expect_ok(reply, 100);
        fixture_close(&fixture);
}
END_TEST

START_TEST(ping_is_answered) {
        struct fixture fixture;

        fixture_open(&fixture);
        ck_assert_int_eq(nghttp2_submit_ping(fixture.client.session, 0,
                                             (const uint8_t *)"\2\4\1\20\20\11\16\7"),
                         0);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.client.pings, 1);
        fixture_close(&fixture);
}
END_TEST

START_TEST(large_request_passes_the_windows) {
        struct fixture fixture;

        fixture_open(&fixture);
        uint32_t sum = fixture_fill(&fixture, 130000);
        fixture.echo.reply_size = 10;
        struct client_reply *reply = fixture_post(&fixture);

        /* Without WINDOW_UPDATE the client stops at 65535 bytes. */
        (void)client_send(&fixture.client);
        ck_assert_uint_eq(reply->request_sent, 65535);
        client_exchange(&fixture.client);
        expect_ok(reply, 10);
        ck_assert_uint_ge(fixture.client.window_updates, 2);
        ck_assert_uint_eq(fixture.echo.message_sum, sum);
        fixture_close(&fixture);
}
END_TEST

START_TEST(large_reply_is_split_and_respects_the_window) {
        struct fixture fixture;

        fixture_open_with(&fixture, NULL, true);
        (void)fixture_fill(&fixture, 1);
        fixture.echo.reply_size = 65536;
        struct client_reply *reply = fixture_post(&fixture);
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
        fixture_close(&fixture);
}
END_TEST

/* A DATA frame is in nghttp2's hands, but found no room, when the call's time is up. */
START_TEST(reply_dropped_between_two_drains) {
        struct fixture fixture;
        struct wla_error err = {0};
        _cleanup_buf_ struct buf out = BUF_WITH_LIMIT(200);

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 1);
        fixture.echo.reply_size = 40000;
        (void)fixture_post(&fixture);
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
        fixture_close(&fixture);
}
END_TEST

START_TEST(two_streams_at_once) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 50);
        struct client_reply *first = fixture_post(&fixture);
        struct client_reply *second = fixture_post(&fixture);
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
        fixture_close(&fixture);
}
END_TEST

START_TEST(stream_limit) {
        struct fixture fixture;
        struct client_reply *replies[40];

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);

        /* All are sent before our SETTINGS are read. */
        for (size_t i = 0; i < 40; i++)
                replies[i] = fixture_post(&fixture);
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
        fixture_close(&fixture);
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

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 700);
        (void)fixture_post(&fixture);
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
        fixture_close(&fixture);
}
END_TEST

SUITE_MAIN("h2_connection", settings_come_first_and_at_once, one_call, byte_by_byte,
           settings_read_late, ping_is_answered, large_request_passes_the_windows,
           large_reply_is_split_and_respects_the_window, reply_dropped_between_two_drains,
           two_streams_at_once, stream_limit, failed_allocations)
