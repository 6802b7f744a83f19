/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/clock.h"
#include "h2_fixture.h"

START_TEST(stalled_reply_is_dropped_at_the_deadline) {
        struct fixture fixture;

        fixture_open_with(&fixture, NULL, true);
        (void)fixture_fill(&fixture, 1);
        fixture.echo.reply_size = 65536;
        struct client_reply *reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        client_pass(&fixture.client, client_limits.call_timeout_usec);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 0);
        client_exchange(&fixture.client);
        ck_assert(reply->closed);
        ck_assert_uint_eq(reply->close_code, NGHTTP2_CANCEL);
        ck_assert_uint_eq(fixture.echo.cancelled, 0);
        fixture_close(&fixture);
}
END_TEST

START_TEST(deadline_ends_a_held_call) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);
        struct client_reply *reply = fixture_post(&fixture);
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
        fixture_close(&fixture);
}
END_TEST

START_TEST(deadline_of_the_client) {
        const nghttp2_nv grpc = HEADER("content-type", "application/grpc");
        const nghttp2_nv shorter = HEADER("grpc-timeout", "50m");
        const nghttp2_nv longer = HEADER("grpc-timeout", "2H");
        const nghttp2_nv zero = HEADER("grpc-timeout", "0m");
        const nghttp2_nv broken = HEADER("grpc-timeout", "soon");
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);
        uint64_t now_usec = fixture.client.now_usec;
        struct client_reply *reply = fixture_request(&fixture, "POST", grpc, shorter);
        ck_assert_uint_eq(grpc_call_deadline_usec(fixture.echo.held[0]),
                          now_usec + 50 * USEC_PER_MSEC);
        client_pass(&fixture.client, 50 * USEC_PER_MSEC);
        client_exchange(&fixture.client);
        expect_status(reply, 4, "50 ms");

        now_usec = fixture.client.now_usec;
        (void)fixture_request(&fixture, "POST", grpc, longer);
        ck_assert_uint_eq(grpc_call_deadline_usec(fixture.echo.held[0]),
                          now_usec + client_limits.call_timeout_usec);
        expect_status(fixture_request(&fixture, "POST", grpc, zero), 4, "time limit");
        expect_status(fixture_request(&fixture, "POST", grpc, broken), 3, "grpc-timeout");
        ck_assert_uint_eq(fixture.echo.started, 2);
        fixture_close(&fixture);
}
END_TEST

START_TEST(deadline_of_an_unfinished_request) {
        struct fixture fixture;

        fixture_open(&fixture);
        (void)fixture_fill(&fixture, 1000);
        struct client_reply *reply = fixture_post(&fixture);
        reply->request_hold = 500;
        client_exchange(&fixture.client);
        client_pass(&fixture.client, client_limits.call_timeout_usec);
        client_exchange(&fixture.client);
        ck_assert_int_eq(reply->grpc_status, 4);
        ck_assert(reply->closed);
        ck_assert_uint_eq(fixture.echo.started, 0);
        ck_assert_uint_eq(fixture.echo.cancelled, 0);
        fixture_close(&fixture);
}
END_TEST

START_TEST(idle_connection_is_closed) {
        struct fixture fixture;

        fixture_open(&fixture);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(h2_connection_next_usec(fixture.client.server),
                          fixture.client.now_usec + client_limits.idle_timeout_usec);
        client_pass(&fixture.client, client_limits.idle_timeout_usec);
        client_exchange(&fixture.client);
        ck_assert(fixture.client.goaway);
        ck_assert_uint_eq(fixture.client.goaway_code, NGHTTP2_NO_ERROR);
        ck_assert(h2_connection_finished(fixture.client.server));
        fixture_close(&fixture);
}
END_TEST

/* A peer that does not read the GOAWAY either. */
START_TEST(idle_connection_is_closed_unread) {
        struct fixture fixture;

        fixture_open(&fixture);
        client_pass(&fixture.client, client_limits.idle_timeout_usec);
        ck_assert(!h2_connection_finished(fixture.client.server));
        uint64_t next_usec = h2_connection_next_usec(fixture.client.server);
        ck_assert_uint_gt(next_usec, fixture.client.now_usec);
        client_pass(&fixture.client, next_usec - fixture.client.now_usec);
        ck_assert(h2_connection_finished(fixture.client.server));
        fixture_close(&fixture);
}
END_TEST

START_TEST(idle_time_counts_from_the_last_call) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);
        (void)fixture_post(&fixture);
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
        fixture_close(&fixture);
}
END_TEST

START_TEST(reset_cancels) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);
        struct client_reply *reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_int_eq(nghttp2_submit_rst_stream(fixture.client.session, 0,
                                                   client_stream_id(&fixture.client, reply),
                                                   NGHTTP2_CANCEL),
                         0);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.echo.cancelled, 1);
        ck_assert_uint_eq(h2_connection_calls(fixture.client.server), 0);
        fixture_close(&fixture);
}
END_TEST

START_TEST(a_client_that_vanishes_cancels) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);
        (void)fixture_post(&fixture);
        (void)fixture_post(&fixture);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fixture.echo.held_count, 2);
        fixture_close(&fixture);
        ck_assert_uint_eq(fixture.echo.cancelled, 2);
}
END_TEST

START_TEST(goaway_of_the_client_lets_the_call_end) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);
        struct client_reply *reply = fixture_post(&fixture);
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
        fixture_close(&fixture);
}
END_TEST

START_TEST(shutdown_finishes_calls_and_takes_no_more) {
        struct fixture fixture;

        fixture_open(&fixture);
        fixture.echo.hold = true;
        (void)fixture_fill(&fixture, 5);
        struct client_reply *reply = fixture_post(&fixture);
        client_exchange(&fixture.client);
        struct client_reply *late = fixture_post(&fixture);
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
        fixture_close(&fixture);
}
END_TEST

SUITE_MAIN("h2_time", stalled_reply_is_dropped_at_the_deadline, deadline_ends_a_held_call,
           deadline_of_the_client, deadline_of_an_unfinished_request, idle_connection_is_closed,
           idle_connection_is_closed_unread, idle_time_counts_from_the_last_call, reset_cancels,
           a_client_that_vanishes_cancels, goaway_of_the_client_lets_the_call_end,
           shutdown_finishes_calls_and_takes_no_more)
