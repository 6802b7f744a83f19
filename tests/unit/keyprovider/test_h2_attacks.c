/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "attack_fixture.h"
#include "base/clock.h"
#include "h2_client.h"
#include "keyprovider/h2_flood.h"

/* Far more than any bound. */
#define MANY 5000u

/* The connection has said why, is to be closed, and takes nothing more. */
static void expect_killed(struct fixture *fixture, uint32_t code) {
        ck_assert(fixture->seen.goaway);
        ck_assert_uint_eq(fixture->seen.goaway_code, code);
        ck_assert(h2_connection_finished(fixture->connection));

        unsigned started = fixture->echo.started;
        raw_headers(&fixture->bytes, 100001, 0);
        raw_message(&fixture->bytes, 100001, 5);
        (void)attack_feed(fixture);
        ck_assert_uint_eq(fixture->echo.started, started);
}

/* Feeds copies of one frame until the connection is killed; returns how many it took. */
static unsigned repeat(struct fixture *fixture, struct raw_frame frame) {
        for (unsigned i = 1; i <= MANY; i++) {
                raw_frame(&fixture->bytes, frame);
                if (attack_feed(fixture) < 0)
                        return i;
        }
        return MANY;
}

START_TEST(rapid_reset) {
        struct fixture fixture;
        unsigned calls = 0;

        attack_open(&fixture, true);
        while (calls < MANY && !h2_connection_finished(fixture.connection)) {
                int32_t stream_id = (int32_t)(2 * calls++ + 1);

                raw_headers(&fixture.bytes, stream_id, 0);
                raw_message(&fixture.bytes, stream_id, 100);
                raw_frame(&fixture.bytes, (struct raw_frame){NGHTTP2_RST_STREAM, 0, stream_id,
                                                             (const uint8_t *)"\0\0\0\10", 4});
                (void)attack_feed(&fixture);
        }
        ck_assert_uint_le(calls, 2 * H2_FLOOD_FRAMES);
        ck_assert_uint_eq(fixture.echo.cancelled, fixture.echo.started);
        ck_assert(fixture.seen.goaway);
        attack_close(&fixture);
}
END_TEST

START_TEST(continuation_flood) {
        const uint8_t header[] = {0x00, 1, 'a', 1, 'b'};
        struct fixture fixture;
        _cleanup_buf_ struct buf block = BUF_WITH_LIMIT(4096);

        for (size_t size = 0; size <= sizeof(header); size += sizeof(header)) {
                attack_open(&fixture, false);
                buf_reset(&block);
                raw_block(&block, NULL, 0);
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_HEADERS, 0, 1, block.data, block.size});
                ck_assert_int_eq(attack_feed(&fixture), 0);
                ck_assert_uint_le(repeat(&fixture, (struct raw_frame){NGHTTP2_CONTINUATION, 0, 1,
                                                                      header, size}),
                                  H2_FLOOD_FRAMES + 1);
                ck_assert(fixture.seen.goaway);
                ck_assert_uint_eq(fixture.echo.started, 0);
                attack_close(&fixture);
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

                attack_open(&fixture, false);
                raw_headers(&fixture.bytes, 1, 0);
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_DATA, 0, 1, (const uint8_t *)"\0\0\1\0\0", 5});
                ck_assert_int_eq(attack_feed(&fixture), 0);
                unsigned count = repeat(&fixture, frames[i]);
                ck_assert_msg(count <= H2_FLOOD_FRAMES, "frame %zu: %u", i, count);
                expect_killed(&fixture, NGHTTP2_ENHANCE_YOUR_CALM);
                ck_assert_uint_lt(fixture.seen.bytes, 30 * H2_FLOOD_FRAMES);
                attack_close(&fixture);
        }
}
END_TEST

/* The peer never reads: nothing is drained, what is kept for it stays bounded. */
START_TEST(pings_without_reading) {
        struct fixture fixture;

        attack_open(&fixture, false);
        for (unsigned i = 0; i < MANY; i++)
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_PING, 0, 0, (const uint8_t *)"12345678", 8});
        ck_assert_int_eq(attack_feed(&fixture), -1);
        ck_assert_uint_le(fixture.seen.frames[NGHTTP2_PING], H2_FLOOD_FRAMES);
        expect_killed(&fixture, NGHTTP2_ENHANCE_YOUR_CALM);
        attack_close(&fixture);
}
END_TEST

START_TEST(slow_floods_are_no_floods) {
        struct fixture fixture;

        attack_open(&fixture, false);
        for (unsigned i = 0; i < MANY; i++) {
                fixture.now_usec += USEC_PER_SEC / (H2_FLOOD_FRAMES / 2);
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_PING, 0, 0, (const uint8_t *)"12345678", 8});
                ck_assert_int_eq(attack_feed(&fixture), 0);
        }

        /* But they keep no connection open. */
        h2_connection_tick(fixture.connection, ATTACK_START + client_limits.idle_timeout_usec);
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert(fixture.seen.goaway);
        attack_close(&fixture);
}
END_TEST

/* What grpc-go sends with every call does not count against a busy connection. */
START_TEST(busy_connection_is_no_flood) {
        struct fixture fixture;

        attack_open(&fixture, false);
        for (unsigned i = 0; i < MANY; i++) {
                int32_t stream_id = (int32_t)(2 * i + 1);

                raw_headers(&fixture.bytes, stream_id, 0);
                raw_message(&fixture.bytes, stream_id, 100);
                raw_frame(&fixture.bytes, (struct raw_frame){NGHTTP2_WINDOW_UPDATE, 0, 0,
                                                             (const uint8_t *)"\0\0\0\x69", 4});
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_PING, 0, 0, (const uint8_t *)"12345678", 8});
                ck_assert_int_eq(attack_feed(&fixture), 0);
        }
        ck_assert_uint_eq(fixture.echo.started, MANY);
        ck_assert_uint_eq(fixture.seen.ended, MANY);
        attack_close(&fixture);
}
END_TEST

START_TEST(zero_window_dribble) {
        struct fixture fixture;

        attack_open(&fixture, false);
        fixture.echo.reply_size = 60000;
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_SETTINGS, 0, 0, (const uint8_t *)"\0\4\0\0\0\0", 6});
        raw_headers(&fixture.bytes, 1, 0);
        raw_message(&fixture.bytes, 1, 10);
        ck_assert_int_eq(attack_feed(&fixture), 0);
        ck_assert_uint_eq(fixture.seen.frames[NGHTTP2_DATA], 0);

        for (unsigned i = 0; i < 10; i++) {
                raw_frame(&fixture.bytes, (struct raw_frame){NGHTTP2_WINDOW_UPDATE, 0, 1,
                                                             (const uint8_t *)"\0\0\0\1", 4});
                ck_assert_int_eq(attack_feed(&fixture), 0);
        }
        ck_assert_uint_eq(fixture.seen.frames[NGHTTP2_DATA], 10);

        /* The reply is gone at the deadline, whatever the client does. */
        h2_connection_tick(fixture.connection, ATTACK_START + client_limits.call_timeout_usec);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert_uint_eq(fixture.seen.resets, 1);
        attack_close(&fixture);
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
        attack_open(&fixture, false);
        raw_block(&block, NULL, 0);
        ck_assert_int_eq(buf_append(&block, "\x40\1x\x7f\xbd\x1d", 6, &err), 0);
        ck_assert_int_eq(buf_append(&block, value, sizeof(value), &err), 0);
        ck_assert_int_eq(buf_append(&block, references, sizeof(references), &err), 0);
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_HEADERS,
                                     NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
                                     block.data, block.size});
        (void)attack_feed(&fixture);
        ck_assert_uint_eq(fixture.echo.started, 0);
        ck_assert(fixture.seen.goaway || fixture.seen.ended == 1 || fixture.seen.resets == 1);
        attack_close(&fixture);
}
END_TEST

START_TEST(thousand_headers) {
        nghttp2_nv more[1000];
        struct fixture fixture;

        for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
                more[i] = (nghttp2_nv)HEADER("x", "y");
        attack_open(&fixture, false);
        raw_headers_with(&fixture.bytes, 1, 0, more, sizeof(more) / sizeof(more[0]));
        raw_message(&fixture.bytes, 1, 10);
        ck_assert_int_eq(attack_feed(&fixture), 0);
        ck_assert_uint_eq(fixture.echo.started, 0);
        ck_assert_uint_eq(fixture.seen.ended, 1);
        attack_close(&fixture);
}
END_TEST

START_TEST(sixteen_mebibytes_of_data) {
        static const uint8_t zeros[16384];
        struct fixture fixture;
        unsigned frames = 0;

        attack_open(&fixture, false);
        raw_headers(&fixture.bytes, 1, 0);
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_DATA, 0, 1, (const uint8_t *)"\0\0\4\0\0", 5});
        while (frames < 1024 && attack_feed(&fixture) == 0 && fixture.seen.ended == 0) {
                frames++;
                raw_frame(&fixture.bytes,
                          (struct raw_frame){NGHTTP2_DATA, 0, 1, zeros, sizeof(zeros)});
        }
        ck_assert_uint_le(frames, 18);
        ck_assert_uint_eq(fixture.echo.started, 0);
        ck_assert_uint_eq(h2_connection_calls(fixture.connection), 0);
        attack_close(&fixture);
}
END_TEST

START_TEST(slowloris) {
        struct fixture fixture;
        _cleanup_buf_ struct buf block = BUF_WITH_LIMIT(4096);

        /* Half a preface. */
        attack_open(&fixture, false);
        fixture.connection = h2_connection_free(fixture.connection);
        fixture.connection = raw_connection(&fixture.echo.handler, NULL, ATTACK_START);
        raw_preface(&fixture.bytes);
        fixture.bytes.size = 10;
        ck_assert_int_eq(attack_feed(&fixture), 0);
        h2_connection_tick(fixture.connection, h2_connection_next_usec(fixture.connection));
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert(h2_connection_finished(fixture.connection));
        attack_close(&fixture);

        /* A header block that does not end. */
        attack_open(&fixture, false);
        raw_block(&block, NULL, 0);
        raw_frame(&fixture.bytes,
                  (struct raw_frame){NGHTTP2_HEADERS, 0, 1, block.data, block.size});
        ck_assert_int_eq(attack_feed(&fixture), 0);
        ck_assert_uint_eq(h2_connection_next_usec(fixture.connection),
                          ATTACK_START + client_limits.call_timeout_usec);
        h2_connection_tick(fixture.connection, ATTACK_START + client_limits.call_timeout_usec);
        raw_drain(fixture.connection, &fixture.seen);
        ck_assert(fixture.seen.goaway);
        ck_assert(h2_connection_finished(fixture.connection));
        attack_close(&fixture);
}
END_TEST

START_TEST(goaway_storm) {
        struct fixture fixture;

        attack_open(&fixture, true);
        raw_headers(&fixture.bytes, 1, 0);
        raw_message(&fixture.bytes, 1, 10);
        ck_assert_int_eq(attack_feed(&fixture), 0);
        ck_assert_uint_le(
                repeat(&fixture, (struct raw_frame){NGHTTP2_GOAWAY, 0, 0,
                                                    (const uint8_t *)"\0\0\0\0\0\0\0\0", 8}),
                H2_FLOOD_FRAMES + 1);
        ck_assert(h2_connection_finished(fixture.connection));
        attack_close(&fixture);
        ck_assert_uint_eq(fixture.echo.cancelled, 1);
}
END_TEST

SUITE_MAIN("h2_attacks", rapid_reset, continuation_flood, floods_of_small_frames,
           pings_without_reading, slow_floods_are_no_floods, busy_connection_is_no_flood,
           zero_window_dribble, hpack_bomb, thousand_headers, sixteen_mebibytes_of_data, slowloris,
           goaway_storm)
