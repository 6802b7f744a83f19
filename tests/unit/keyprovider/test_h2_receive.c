/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "attack_fixture.h"

/* The server is to reset streams itself: each of these ends the connection at once. */
START_TEST(made_you_reset) {
        static const struct raw_frame frames[] = {
                {NGHTTP2_WINDOW_UPDATE, 0, 1, (const uint8_t *)"\0\0\0\0", 4},
                {NGHTTP2_WINDOW_UPDATE, 0, 1, (const uint8_t *)"\x7f\xff\xff\xff", 4},
                {NGHTTP2_WINDOW_UPDATE, 0, 1, (const uint8_t *)"\0\0\1", 3},
                {NGHTTP2_DATA, 0, 1, (const uint8_t *)"more", 4},
                {NGHTTP2_PRIORITY, 0, 1, (const uint8_t *)"\0\0\0\1\0", 5},
                {NGHTTP2_PRIORITY, 0, 1, (const uint8_t *)"\0\0\0\3", 4},
                {NGHTTP2_RST_STREAM, 0, 1, (const uint8_t *)"\0\0\0", 3},
        };

        for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
                struct fixture fixture;

                attack_open(&fixture, true);
                raw_headers(&fixture.bytes, 1, 0);
                raw_message(&fixture.bytes, 1, 100);
                ck_assert_int_eq(attack_feed(&fixture), 0);
                ck_assert_uint_eq(fixture.echo.started, 1);
                raw_frame(&fixture.bytes, frames[i]);
                raw_frame(&fixture.bytes, frames[i]);
                (void)attack_feed(&fixture);
                ck_assert_msg(fixture.seen.goaway, "frame %zu", i);
                ck_assert(h2_connection_finished(fixture.connection));
                ck_assert_uint_le(fixture.seen.resets, 1);
                attack_close(&fixture);
                ck_assert_uint_eq(fixture.echo.cancelled, 1);
        }
}
END_TEST

START_TEST(settings_with_2400_entries) {
        uint8_t entries[2400 * 6];
        struct fixture fixture;

        for (size_t i = 0; i < sizeof(entries); i += 6)
                memcpy(entries + i, "\0\4\0\0\1\0", 6);
        attack_open(&fixture, false);
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_SETTINGS, 0, 0, entries, sizeof(entries)});
        (void)attack_feed(&fixture);
        ck_assert(fixture.seen.goaway);
        ck_assert(h2_connection_finished(fixture.connection));
        attack_close(&fixture);
}
END_TEST

/* More than the windows allow. */
START_TEST(data_above_the_window) {
        static const uint8_t zeros[16384];
        struct fixture fixture;

        attack_open(&fixture, false);
        raw_headers(&fixture.bytes, 1, 0);
        for (int i = 0; i < 1024; i++)
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_DATA, 0, 1, zeros, sizeof(zeros)});
        (void)attack_feed(&fixture);
        ck_assert(fixture.seen.goaway || fixture.seen.ended == 1);
        ck_assert_uint_eq(fixture.echo.started, 0);
        attack_close(&fixture);
}
END_TEST

/* grpc-go's farewell: last stream 1, which is the client's own, and a debug text. */
START_TEST(farewell_of_grpc_go) {
        static const uint8_t payload[] = "\0\0\0\1\0\0\0\0client transport shutdown";
        struct fixture fixture;

        attack_open(&fixture, false);
        raw_headers(&fixture.bytes, 1, 0);
        raw_message(&fixture.bytes, 1, 10);
        ck_assert_int_eq(attack_feed(&fixture), 0);
        raw_frame(&fixture.bytes, (struct raw_frame){.type = NGHTTP2_GOAWAY,
                                                     .payload = payload,
                                                     .size = sizeof(payload) - 1});
        ck_assert_int_eq(attack_feed(&fixture), 0);
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert(h2_connection_finished(fixture.connection));
        attack_close(&fixture);
}
END_TEST

START_TEST(what_is_no_http2) {
        static const char *const texts[] = {
                "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\x0b",
                "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        };
        struct fixture fixture;
        struct wla_error err = {0};

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                attack_open(&fixture, false);
                fixture.connection = h2_connection_free(fixture.connection);
                fixture.connection = raw_connection(&fixture.echo.handler, NULL, ATTACK_START);
                ck_assert_int_eq(h2_connection_feed(fixture.connection, (const uint8_t *)texts[i],
                                                    strlen(texts[i]), ATTACK_START, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert(strncmp(wla_error_text(&err), "broken HTTP/2: ", 15) == 0);
                ck_assert(h2_connection_finished(fixture.connection));
                raw_drain(fixture.connection, &fixture.seen);
                attack_close(&fixture);
        }
}
END_TEST

START_TEST(frames_that_break_the_protocol) {
        static const uint8_t large[20000];
        static const struct raw_frame frames[] = {
                {NGHTTP2_DATA, 0, 1, large, sizeof(large)},
                {NGHTTP2_DATA, 0, 0, (const uint8_t *)"x", 1},
                {NGHTTP2_DATA, 0, 1, (const uint8_t *)"x", 1},
                {NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2, (const uint8_t *)"\x83", 1},
                {NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 0, (const uint8_t *)"\x83", 1},
                {NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, (const uint8_t *)"\xff\xff\xff", 3},
                {NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, (const uint8_t *)"\x83", 1},
                {NGHTTP2_HEADERS, 0x2c, 1, (const uint8_t *)"\xff", 1},
                {NGHTTP2_SETTINGS, 0, 1, NULL, 0},
                {NGHTTP2_SETTINGS, 0, 0, (const uint8_t *)"\0\4\0", 3},
                {NGHTTP2_SETTINGS, 0, 0, (const uint8_t *)"\0\2\0\0\0\5", 6},
                {NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, (const uint8_t *)"\0\4\0\0\0\0", 6},
                {NGHTTP2_PUSH_PROMISE, 4, 1, (const uint8_t *)"\0\0\0\2\x83", 5},
                {NGHTTP2_PING, 0, 0, (const uint8_t *)"1", 1},
                {NGHTTP2_GOAWAY, 0, 1, (const uint8_t *)"\0\0\0\0\0\0\0\0", 8},
                {NGHTTP2_RST_STREAM, 0, 1, (const uint8_t *)"\0\0\0\0", 4},
                {NGHTTP2_WINDOW_UPDATE, 0, 0, (const uint8_t *)"\0\0\0\0", 4},
                {NGHTTP2_WINDOW_UPDATE, 0, 0, (const uint8_t *)"\x7f\xff\xff\xff", 4},
                {NGHTTP2_CONTINUATION, 4, 1, (const uint8_t *)"\x83", 1},
        };

        for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
                struct fixture fixture;

                attack_open(&fixture, false);
                raw_frame(&fixture.bytes, frames[i]);
                raw_frame(&fixture.bytes, frames[i]);
                (void)attack_feed(&fixture);
                ck_assert_msg(fixture.seen.goaway, "frame %zu", i);
                ck_assert_uint_ne(fixture.seen.goaway_code, NGHTTP2_NO_ERROR);
                ck_assert(h2_connection_finished(fixture.connection));
                attack_close(&fixture);
        }
}
END_TEST

SUITE_MAIN("h2_receive", made_you_reset, settings_with_2400_entries, data_above_the_window,
           farewell_of_grpc_go, what_is_no_http2, frames_that_break_the_protocol)
