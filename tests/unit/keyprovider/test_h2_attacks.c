/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/crypto.h>
#include <string.h>

#include "base/clock.h"
#include "echo_handler.h"
#include "h2_client.h"
#include "h2_raw.h"
#include "keyprovider/h2_flood.h"

/* Far more than any bound. */
#define MANY 5000u

#define START UINT64_C(1000000)

struct fixture {
        struct echo echo;
        struct h2_connection *connection;
        struct buf bytes;
        struct raw_seen seen;
        uint64_t now_usec;
};

static void set_up(struct fixture *fixture, bool hold) {
        struct wla_error err = {0};

        *fixture = (struct fixture){.bytes.limit = 1 << 25, .now_usec = START};
        if (!CRYPTO_secure_malloc_initialized())
                ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        echo_init(&fixture->echo);
        fixture->echo.hold = hold;
        fixture->connection = raw_connection(&fixture->echo.handler, NULL, START);
        raw_preface(&fixture->bytes);
        ck_assert_int_eq(raw_feed(fixture->connection, &fixture->bytes, START), 0);
        raw_drain(fixture->connection, &fixture->seen);
}

static void tear_down(struct fixture *fixture) {
        fixture->connection = h2_connection_free(fixture->connection);
        buf_clear(&fixture->bytes);
        ck_assert_uint_eq(fixture->echo.held_count, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
}

static int feed(struct fixture *fixture) {
        int outcome = raw_feed(fixture->connection, &fixture->bytes, fixture->now_usec);

        raw_drain(fixture->connection, &fixture->seen);
        return outcome;
}

/* The connection has said why, is to be closed, and takes nothing more. */
static void expect_killed(struct fixture *fixture, uint32_t code) {
        ck_assert(fixture->seen.goaway);
        ck_assert_uint_eq(fixture->seen.goaway_code, code);
        ck_assert(h2_connection_finished(fixture->connection));

        unsigned started = fixture->echo.started;
        raw_headers(&fixture->bytes, 100001, 0);
        raw_message(&fixture->bytes, 100001, 5);
        (void)feed(fixture);
        ck_assert_uint_eq(fixture->echo.started, started);
}

/* Feeds copies of one frame until the connection is killed; returns how many it took. */
static unsigned repeat(struct fixture *fixture, struct raw_frame frame) {
        for (unsigned i = 1; i <= MANY; i++) {
                raw_frame(&fixture->bytes, frame);
                if (feed(fixture) < 0)
                        return i;
        }
        return MANY;
}

START_TEST(rapid_reset) {
        struct fixture fixture;
        unsigned calls = 0;

        set_up(&fixture, true);
        while (calls < MANY && !h2_connection_finished(fixture.connection)) {
                int32_t stream_id = (int32_t)(2 * calls++ + 1);

                raw_headers(&fixture.bytes, stream_id, 0);
                raw_message(&fixture.bytes, stream_id, 100);
                raw_frame(&fixture.bytes, (struct raw_frame){NGHTTP2_RST_STREAM, 0, stream_id,
                                                             (const uint8_t *)"\0\0\0\10", 4});
                (void)feed(&fixture);
        }
        ck_assert_uint_le(calls, 2 * H2_FLOOD_FRAMES);
        ck_assert_uint_eq(fixture.echo.cancelled, fixture.echo.started);
        ck_assert(fixture.seen.goaway);
        tear_down(&fixture);
}
END_TEST

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

                set_up(&fixture, true);
                raw_headers(&fixture.bytes, 1, 0);
                raw_message(&fixture.bytes, 1, 100);
                ck_assert_int_eq(feed(&fixture), 0);
                ck_assert_uint_eq(fixture.echo.started, 1);
                raw_frame(&fixture.bytes, frames[i]);
                raw_frame(&fixture.bytes, frames[i]);
                (void)feed(&fixture);
                ck_assert_msg(fixture.seen.goaway, "frame %zu", i);
                ck_assert(h2_connection_finished(fixture.connection));
                ck_assert_uint_le(fixture.seen.resets, 1);
                tear_down(&fixture);
                ck_assert_uint_eq(fixture.echo.cancelled, 1);
        }
}
END_TEST

START_TEST(continuation_flood) {
        const uint8_t header[] = {0x00, 1, 'a', 1, 'b'};
        struct fixture fixture;
        _cleanup_buf_ struct buf block = BUF_WITH_LIMIT(4096);

        for (size_t size = 0; size <= sizeof(header); size += sizeof(header)) {
                set_up(&fixture, false);
                buf_reset(&block);
                raw_block(&block, NULL, 0);
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_HEADERS, 0, 1, block.data, block.size});
                ck_assert_int_eq(feed(&fixture), 0);
                ck_assert_uint_le(repeat(&fixture, (struct raw_frame){NGHTTP2_CONTINUATION, 0, 1,
                                                                      header, size}),
                                  H2_FLOOD_FRAMES + 1);
                ck_assert(fixture.seen.goaway);
                ck_assert_uint_eq(fixture.echo.started, 0);
                tear_down(&fixture);
        }
}
END_TEST

START_TEST(floods_of_small_frames) {
        static const struct raw_frame frames[] = {
                {NGHTTP2_SETTINGS, 0, 0, NULL, 0},
                {NGHTTP2_SETTINGS, 0, 0, (const uint8_t *)"\0\4\0\0\1\0", 6},
                {NGHTTP2_PING, 0, 0, (const uint8_t *)"12345678", 8},
                {NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, (const uint8_t *)"12345678", 8},
                {NGHTTP2_PRIORITY, 0, 9, (const uint8_t *)"\0\0\0\1\0", 5},
                {NGHTTP2_WINDOW_UPDATE, 0, 0, (const uint8_t *)"\0\0\0\1", 4},
                {NGHTTP2_WINDOW_UPDATE, 0, 1, (const uint8_t *)"\0\0\0\1", 4},
                {NGHTTP2_DATA, 0, 1, NULL, 0},
                {NGHTTP2_DATA, 0, 1, (const uint8_t *)"x", 1},
                {NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, (const uint8_t *)"\3\0\0\0", 4},
                {0x42, 0xff, 1, (const uint8_t *)"unknown", 7},
                {0x0a, 0, 0, (const uint8_t *)"altsvc", 6},
        };

        for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
                struct fixture fixture;

                set_up(&fixture, false);
                raw_headers(&fixture.bytes, 1, 0);
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_DATA, 0, 1, (const uint8_t *)"\0\0\1\0\0", 5});
                ck_assert_int_eq(feed(&fixture), 0);
                unsigned count = repeat(&fixture, frames[i]);
                ck_assert_msg(count <= H2_FLOOD_FRAMES, "frame %zu: %u", i, count);
                expect_killed(&fixture, NGHTTP2_ENHANCE_YOUR_CALM);
                ck_assert_uint_lt(fixture.seen.bytes, 30 * H2_FLOOD_FRAMES);
                tear_down(&fixture);
        }
}
END_TEST

/* The peer never reads: nothing is drained, what is kept for it stays bounded. */
START_TEST(pings_without_reading) {
        struct fixture fixture;

        set_up(&fixture, false);
        for (unsigned i = 0; i < MANY; i++)
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_PING, 0, 0, (const uint8_t *)"12345678", 8});
        ck_assert_int_eq(feed(&fixture), -1);
        ck_assert_uint_le(fixture.seen.frames[NGHTTP2_PING], H2_FLOOD_FRAMES);
        expect_killed(&fixture, NGHTTP2_ENHANCE_YOUR_CALM);
        tear_down(&fixture);
}
END_TEST

START_TEST(slow_floods_are_no_floods) {
        struct fixture fixture;

        set_up(&fixture, false);
        for (unsigned i = 0; i < MANY; i++) {
                fixture.now_usec += USEC_PER_SEC / (H2_FLOOD_FRAMES / 2);
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_PING, 0, 0, (const uint8_t *)"12345678", 8});
                ck_assert_int_eq(feed(&fixture), 0);
        }

        /* But they keep no connection open. */
        h2_connection_tick(fixture.connection, START + client_limits.idle_timeout_usec);
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert(fixture.seen.goaway);
        tear_down(&fixture);
}
END_TEST

/* What grpc-go sends with every call does not count against a busy connection. */
START_TEST(busy_connection_is_no_flood) {
        struct fixture fixture;

        set_up(&fixture, false);
        for (unsigned i = 0; i < MANY; i++) {
                int32_t stream_id = (int32_t)(2 * i + 1);

                raw_headers(&fixture.bytes, stream_id, 0);
                raw_message(&fixture.bytes, stream_id, 100);
                raw_frame(&fixture.bytes, (struct raw_frame){NGHTTP2_WINDOW_UPDATE, 0, 0,
                                                             (const uint8_t *)"\0\0\0\x69", 4});
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_PING, 0, 0, (const uint8_t *)"12345678", 8});
                ck_assert_int_eq(feed(&fixture), 0);
        }
        ck_assert_uint_eq(fixture.echo.started, MANY);
        ck_assert_uint_eq(fixture.seen.ended, MANY);
        tear_down(&fixture);
}
END_TEST

START_TEST(settings_with_2400_entries) {
        uint8_t entries[2400 * 6];
        struct fixture fixture;

        for (size_t i = 0; i < sizeof(entries); i += 6)
                memcpy(entries + i, "\0\4\0\0\1\0", 6);
        set_up(&fixture, false);
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_SETTINGS, 0, 0, entries, sizeof(entries)});
        (void)feed(&fixture);
        ck_assert(fixture.seen.goaway);
        ck_assert(h2_connection_finished(fixture.connection));
        tear_down(&fixture);
}
END_TEST

START_TEST(zero_window_dribble) {
        struct fixture fixture;

        set_up(&fixture, false);
        fixture.echo.reply_size = 60000;
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_SETTINGS, 0, 0, (const uint8_t *)"\0\4\0\0\0\0", 6});
        raw_headers(&fixture.bytes, 1, 0);
        raw_message(&fixture.bytes, 1, 10);
        ck_assert_int_eq(feed(&fixture), 0);
        ck_assert_uint_eq(fixture.seen.frames[NGHTTP2_DATA], 0);

        for (unsigned i = 0; i < 10; i++) {
                raw_frame(&fixture.bytes, (struct raw_frame){NGHTTP2_WINDOW_UPDATE, 0, 1,
                                                             (const uint8_t *)"\0\0\0\1", 4});
                ck_assert_int_eq(feed(&fixture), 0);
        }
        ck_assert_uint_eq(fixture.seen.frames[NGHTTP2_DATA], 10);

        /* The reply is gone at the deadline, whatever the client does. */
        h2_connection_tick(fixture.connection, START + client_limits.call_timeout_usec);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert_uint_eq(fixture.seen.resets, 1);
        tear_down(&fixture);
}
END_TEST

/* One large header in HPACK's table, then thousands of one-byte references to it. */
START_TEST(hpack_bomb) {
        _cleanup_buf_ struct buf block = BUF_WITH_LIMIT(1 << 17);
        uint8_t value[3900];
        uint8_t references[12000];
        struct fixture fixture;
        struct wla_error err = {0};

        /* RFC 7541 section 6.2.1: literal with indexing, new name; then index 62. */
        memset(value, 'v', sizeof(value));
        memset(references, 0x80 | 62, sizeof(references));
        set_up(&fixture, false);
        raw_block(&block, NULL, 0);
        ck_assert_int_eq(buf_append(&block, "\x40\1x\x7f\xbd\x1d", 6, &err), 0);
        ck_assert_int_eq(buf_append(&block, value, sizeof(value), &err), 0);
        ck_assert_int_eq(buf_append(&block, references, sizeof(references), &err), 0);
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_HEADERS,
                                     NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
                                     block.data, block.size});
        (void)feed(&fixture);
        ck_assert_uint_eq(fixture.echo.started, 0);
        ck_assert(fixture.seen.goaway || fixture.seen.ended == 1 || fixture.seen.resets == 1);
        tear_down(&fixture);
}
END_TEST

START_TEST(thousand_headers) {
        nghttp2_nv more[1000];
        struct fixture fixture;

        for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
                more[i] = (nghttp2_nv)HEADER("x", "y");
        set_up(&fixture, false);
        raw_headers_with(&fixture.bytes, 1, 0, more, sizeof(more) / sizeof(more[0]));
        raw_message(&fixture.bytes, 1, 10);
        ck_assert_int_eq(feed(&fixture), 0);
        ck_assert_uint_eq(fixture.echo.started, 0);
        ck_assert_uint_eq(fixture.seen.ended, 1);
        tear_down(&fixture);
}
END_TEST

START_TEST(sixteen_mebibytes_of_data) {
        static const uint8_t zeros[16384];
        struct fixture fixture;
        unsigned frames = 0;

        set_up(&fixture, false);
        raw_headers(&fixture.bytes, 1, 0);
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_DATA, 0, 1, (const uint8_t *)"\0\0\4\0\0", 5});
        while (frames < 1024 && feed(&fixture) == 0 && fixture.seen.ended == 0) {
                frames++;
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_DATA, 0, 1, zeros, sizeof(zeros)});
        }
        ck_assert_uint_le(frames, 18);
        ck_assert_uint_eq(fixture.echo.started, 0);
        ck_assert_uint_eq(h2_connection_calls(fixture.connection), 0);
        tear_down(&fixture);
}
END_TEST

/* More than the windows allow. */
START_TEST(data_above_the_window) {
        static const uint8_t zeros[16384];
        struct fixture fixture;

        set_up(&fixture, false);
        raw_headers(&fixture.bytes, 1, 0);
        for (int i = 0; i < 1024; i++)
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_DATA, 0, 1, zeros, sizeof(zeros)});
        (void)feed(&fixture);
        ck_assert(fixture.seen.goaway || fixture.seen.ended == 1);
        ck_assert_uint_eq(fixture.echo.started, 0);
        tear_down(&fixture);
}
END_TEST

START_TEST(slowloris) {
        struct fixture fixture;
        _cleanup_buf_ struct buf block = BUF_WITH_LIMIT(4096);

        /* Half a preface. */
        set_up(&fixture, false);
        fixture.connection = h2_connection_free(fixture.connection);
        fixture.connection = raw_connection(&fixture.echo.handler, NULL, START);
        raw_preface(&fixture.bytes);
        fixture.bytes.size = 10;
        ck_assert_int_eq(feed(&fixture), 0);
        h2_connection_tick(fixture.connection, h2_connection_next_usec(fixture.connection));
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert(h2_connection_finished(fixture.connection));
        tear_down(&fixture);

        /* A header block that does not end. */
        set_up(&fixture, false);
        raw_block(&block, NULL, 0);
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_HEADERS, 0, 1, block.data, block.size});
        ck_assert_int_eq(feed(&fixture), 0);
        ck_assert_uint_eq(h2_connection_next_usec(fixture.connection),
                          START + client_limits.call_timeout_usec);
        h2_connection_tick(fixture.connection, START + client_limits.call_timeout_usec);
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert(fixture.seen.goaway);
        ck_assert(h2_connection_finished(fixture.connection));
        tear_down(&fixture);
}
END_TEST

START_TEST(goaway_storm) {
        struct fixture fixture;

        set_up(&fixture, true);
        raw_headers(&fixture.bytes, 1, 0);
        raw_message(&fixture.bytes, 1, 10);
        ck_assert_int_eq(feed(&fixture), 0);
        ck_assert_uint_le(
                repeat(&fixture, (struct raw_frame){NGHTTP2_GOAWAY, 0, 0,
                                                    (const uint8_t *)"\0\0\0\0\0\0\0\0", 8}),
                H2_FLOOD_FRAMES + 1);
        ck_assert(h2_connection_finished(fixture.connection));
        tear_down(&fixture);
        ck_assert_uint_eq(fixture.echo.cancelled, 1);
}
END_TEST

/* grpc-go's farewell: last stream 1, which is the client's own, and a debug text. */
START_TEST(farewell_of_grpc_go) {
        static const uint8_t payload[] = "\0\0\0\1\0\0\0\0client transport shutdown";
        struct fixture fixture;

        set_up(&fixture, false);
        raw_headers(&fixture.bytes, 1, 0);
        raw_message(&fixture.bytes, 1, 10);
        ck_assert_int_eq(feed(&fixture), 0);
        raw_frame(&fixture.bytes, (struct raw_frame){.type = NGHTTP2_GOAWAY,
                                                     .payload = payload,
                                                     .size = sizeof(payload) - 1});
        ck_assert_int_eq(feed(&fixture), 0);
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert(h2_connection_finished(fixture.connection));
        tear_down(&fixture);
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
                set_up(&fixture, false);
                fixture.connection = h2_connection_free(fixture.connection);
                fixture.connection = raw_connection(&fixture.echo.handler, NULL, START);
                ck_assert_int_eq(h2_connection_feed(fixture.connection, (const uint8_t *)texts[i],
                                                    strlen(texts[i]), START, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert(strncmp(wla_error_text(&err), "broken HTTP/2: ", 15) == 0);
                ck_assert(h2_connection_finished(fixture.connection));
                raw_drain(fixture.connection, &fixture.seen);
                tear_down(&fixture);
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

                set_up(&fixture, false);
                raw_frame(&fixture.bytes, frames[i]);
                raw_frame(&fixture.bytes, frames[i]);
                (void)feed(&fixture);
                ck_assert_msg(fixture.seen.goaway, "frame %zu", i);
                ck_assert_uint_ne(fixture.seen.goaway_code, NGHTTP2_NO_ERROR);
                ck_assert(h2_connection_finished(fixture.connection));
                tear_down(&fixture);
        }
}
END_TEST

SUITE_MAIN("h2_attacks", rapid_reset, made_you_reset, continuation_flood, floods_of_small_frames,
           pings_without_reading, slow_floods_are_no_floods, busy_connection_is_no_flood,
           settings_with_2400_entries, zero_window_dribble, hpack_bomb, thousand_headers,
           sixteen_mebibytes_of_data, data_above_the_window, slowloris, goaway_storm,
           farewell_of_grpc_go, what_is_no_http2, frames_that_break_the_protocol)
