/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metrics.h"
#include "fail_allocation.h"
#include "h2_raw.h"
#include "provider_texts.h"
#include "service_fixture.h"
#include "vectors.h"

/* One bit anywhere: refused, or the packet means the same. */
START_TEST(flipped_bits) {
        char packet[] = VECTOR_COUNTED_PACKET;
        struct outcome outcome = {0};
        struct fixture fixture;
        unsigned passed = 0;

        service_open(&fixture, true);
        for (size_t i = 0; i < 8 * (sizeof(packet) - 1); i++) {
                packet[i / 8] = (char)(packet[i / 8] ^ 1 << i % 8);
                service_unwrap_bare(&fixture, packet, &outcome);
                if (outcome.err.code == WLA_OK) {
                        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(65536);

                        passed++;
                        provider_text_result(outcome.json.data, outcome.json.size, false,
                                             "keyunwrapresults", "optsdata", &bytes);
                        ck_assert_uint_eq(bytes.size, strlen(VECTOR_COUNTED_PLAIN));
                        ck_assert_mem_eq(bytes.data, VECTOR_COUNTED_PLAIN, bytes.size);
                        ck_assert_str_ne(fake_access.id.text, "local:///counted");
                }
                packet[i / 8] = (char)(packet[i / 8] ^ 1 << i % 8);
        }

        /* Only the name of the key is not covered by the tag. */
        ck_assert_uint_lt(passed, 8 * strlen("local:///counted"));
        service_unwrap_bare(&fixture, packet, &outcome);
        ck_assert_int_eq(outcome.err.code, WLA_OK);
        buf_clear(&outcome.json);
        service_close(&fixture);
}
END_TEST

START_TEST(many_calls_one_after_the_other) {
        struct outcome outcome = {0};
        struct fixture fixture;

        service_open(&fixture, false);
        for (unsigned i = 0; i < 5000; i++)
                service_unwrap_bare(&fixture, i % 2 ? VECTOR_COUNTED_PACKET : "{}", &outcome);
        ck_assert_uint_eq(outcome.calls, 5000);
        ck_assert_uint_eq(fake_access.begun, 2500);
        buf_clear(&outcome.json);
        service_close(&fixture);
}
END_TEST

START_TEST(calls_that_are_overdue_cancel) {
        static const struct key_peer peer = {0};
        struct keyprovider_call *call = NULL;
        struct outcome outcome = {0};
        struct fixture fixture;

        service_open(&fixture, false);
        fake_access.later = true;
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        keyprovider_service_begin(fixture.service, &fixture.json, &peer, clock_now_usec(),
                                  note_outcome, &outcome, &call);
        ck_assert_ptr_nonnull(call);
        keyprovider_call_cancel(call);
        ck_assert_uint_eq(fake_access.cancelled, 1);
        ck_assert_uint_eq(outcome.calls, 0);
        ck_assert_uint_eq(metrics_total(METRIC_KEYPROVIDER_REQUESTS), 1);
        service_close(&fixture);
}
END_TEST

START_TEST(bare_json) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(65536);
        struct outcome outcome = {0};
        struct fixture fixture;

        service_open(&fixture, false);
        service_unwrap_bare(&fixture, VECTOR_COUNTED_PACKET, &outcome);
        ck_assert_uint_eq(outcome.calls, 1);
        ck_assert_uint_eq(fixture.json.size, 0);
        provider_text_result(outcome.json.data, outcome.json.size, false, "keyunwrapresults",
                             "optsdata", &bytes);
        ck_assert_mem_eq(bytes.data, VECTOR_COUNTED_PLAIN, strlen(VECTOR_COUNTED_PLAIN));

        provider_text_wrap(&fixture.json, "\"wlagent\":[\"a2V5PWE=\"]", "options");
        ck_assert_ptr_null(service_begin_bare(&fixture, &outcome));
        ck_assert_int_eq(outcome.err.code, WLA_E_DENIED);

        fake_access.later = true;
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        ck_assert_ptr_nonnull(service_begin_bare(&fixture, &outcome));
        fake_access_answer();
        ck_assert_uint_eq(outcome.calls, 3);
        ck_assert_int_eq(outcome.err.code, WLA_OK);
        buf_clear(&outcome.json);
        service_close(&fixture);
}
END_TEST

/* One event a call, with who, which key and the result; nothing of the request or the reply. */
START_TEST(events) {
        _cleanup_buf_ struct buf log = BUF_WITH_LIMIT(65536);
        struct outcome outcome = {0};
        struct fixture fixture;
        struct wla_error err = {0};
        FILE *file = tmpfile();

        ck_assert_ptr_nonnull(file);
        service_open(&fixture, false);
        log_open(LOG_INFO);
        ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
        expect_plain(service_unwrap(&fixture, VECTOR_COUNTED_PACKET), VECTOR_COUNTED_PLAIN);
        service_set_key(VECTOR_SAMPLE_KEY);
        (void)service_unwrap(&fixture, VECTOR_COUNTED_PACKET);
        service_unwrap_bare(&fixture, "{}", &outcome);

        uint8_t *at = buf_extend(&log, 16384, &err);
        ck_assert_ptr_nonnull(at);
        ssize_t size = pread(fileno(file), at, 16384, 0);
        ck_assert_int_gt((int)size, 0);
        log.size = (size_t)size;
        const char *text = buf_text(&log, &err);

        const char *released = strstr(text, "WLA_ERROR_CODE=ok");
        const char *refused = strstr(text, "WLA_ERROR_CODE=denied");
        const char *malformed = strstr(text, "WLA_ERROR_CODE=invalid-input");
        ck_assert_msg(released && refused && malformed, "%s", text);
        ck_assert(released < refused && refused < malformed);
        ck_assert_ptr_nonnull(strstr(text, "WLA_KEY_ID=local:///counted"));
        ck_assert_ptr_nonnull(strstr(text, "WLA_PEER_UID=1000"));
        ck_assert_ptr_nonnull(strstr(text, "WLA_PEER_PID=4711"));
        ck_assert_ptr_nonnull(strstr(text, "WLA_OPERATION=unwrap"));
        ck_assert_ptr_nonnull(strstr(text, "WLA_DURATION_USEC="));
        ck_assert_uint_eq(metrics_total(METRIC_KEYPROVIDER_REQUESTS), 3);
        ck_assert_uint_eq(metrics_total(METRIC_KEYPROVIDER_REQUEST_SECONDS), 3);
        ck_assert_ptr_null(strstr(text, "symkey"));
        ck_assert_ptr_null(strstr(text, "Zm9v"));
        ck_assert_ptr_null(strstr(text, "J3Au3idejpWew"));
        buf_clear(&outcome.json);
        service_close(&fixture);
}
END_TEST

/* Whatever allocation fails, the call is answered or refused once, and nothing is lost. */
START_TEST(failed_allocations) {
        static const char parameters[] = "\"wlagent\":[\"a2V5PWtlay03\"]";
        struct outcome outcome = {.json.limit = 65536};
        struct fixture fixture;
        struct wla_error err = {0};

        service_open(&fixture, true);
        ck_assert_ptr_nonnull(buf_extend(&outcome.json, 65536, &err));
        for (int wrapping = 0; wrapping < 2; wrapping++) {
                unsigned failures = 0;

                for (size_t n = 1;; n++) {
                        if (wrapping)
                                provider_text_wrap(&fixture.json, parameters, "options");
                        else
                                provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
                        outcome.calls = 0;
                        bool more = fail_allocation_arm(n);
                        (void)service_begin_bare(&fixture, &outcome);
                        fail_allocation_disarm();
                        ck_assert_uint_eq(outcome.calls, 1);
                        ck_assert_uint_eq(wla_secret_heap_used(), fixture.heap_used);
                        failures += outcome.err.code != WLA_OK;
                        if (!more)
                                break;
                }
                ck_assert_uint_ge(failures, 5);
                ck_assert_int_eq(outcome.err.code, WLA_OK);
        }
        buf_clear(&outcome.json);
        service_close(&fixture);
}
END_TEST

START_TEST(failed_allocations_over_grpc) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(8192);
        struct h2_connection_options options = {.limits = &client_limits};
        struct fixture fixture;
        struct wla_error err = {0};
        unsigned refused = 0;

        service_open(&fixture, false);
        options.handler = keyprovider_service_handler(fixture.service);
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        provider_text_message(&fixture.message, &fixture.json);
        raw_preface(&bytes);
        raw_headers(&bytes, 1, 0);
        raw_frame(&bytes, (struct raw_frame){NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1,
                                             fixture.message.data, fixture.message.size});

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

                /* The whole reply, a reset or a status alone, or a broken connection. */
                refused += outcome == 0 && out.size < 400;
                if (!fail_allocation_hit())
                        ck_assert(outcome == 0 && out.size > 400);
                ck_assert_uint_eq(wla_secret_heap_used(), fixture.heap_used);
        }
        ck_assert_uint_ge(refused, 8);
        service_close(&fixture);
}
END_TEST

START_TEST(clients_that_go_cancel) {
        struct outcome outcome = {0};
        struct fixture fixture;

        service_open(&fixture, false);
        fake_access.later = true;
        (void)service_unwrap(&fixture, VECTOR_COUNTED_PACKET);
        (void)service_unwrap(&fixture, VECTOR_COUNTED_PACKET);
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        ck_assert_int_eq(nghttp2_submit_rst_stream(fixture.client.session, 0, 1, NGHTTP2_CANCEL),
                         0);
        client_exchange(&fixture.client);
        ck_assert_uint_eq(fake_access.cancelled, 1);

        buf_reset(&fixture.json);
        provider_text_unwrap(&fixture.json, VECTOR_COUNTED_PACKET);
        struct keyprovider_call *bare = service_begin_bare(&fixture, &outcome);
        ck_assert_ptr_nonnull(bare);
        keyprovider_call_cancel(bare);
        ck_assert_uint_eq(outcome.calls, 0);
        ck_assert_uint_eq(fake_access.cancelled, 2);

        fixture.client.server = h2_connection_free(fixture.client.server);
        ck_assert_uint_eq(fake_access.cancelled, 3);
        service_close(&fixture);
}
END_TEST

SUITE_MAIN("keyprovider_call", flipped_bits, many_calls_one_after_the_other,
           calls_that_are_overdue_cancel, bare_json, events, failed_allocations,
           failed_allocations_over_grpc, clients_that_go_cancel)
