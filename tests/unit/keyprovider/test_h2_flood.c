/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#include "base/clock.h"
#include "h2_raw.h"
#include "keyprovider/h2_flood.h"

#define START (5 * USEC_PER_SEC)

/* Whether a frame counts. */
static bool counts(uint8_t type, uint8_t flags, size_t size) {
        static const uint8_t zeros[256];
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(4096);
        struct h2_flood flood;

        h2_flood_init(&flood);
        raw_preface(&bytes);
        ck_assert(h2_flood_scan(&flood, bytes.data, bytes.size, START));
        ck_assert_uint_eq(flood.frames, 1);
        buf_reset(&bytes);
        raw_frame(&bytes, (struct raw_frame){type, flags, 1, zeros, size});
        ck_assert(h2_flood_scan(&flood, bytes.data, bytes.size, START));
        ck_assert_uint_eq(flood.skip, 0);
        ck_assert_uint_eq(flood.header_size, 0);
        return flood.frames == 2;
}

START_TEST(what_counts) {
        ck_assert(!counts(NGHTTP2_HEADERS, 0, 10));
        ck_assert(!counts(NGHTTP2_DATA, 0, H2_FLOOD_SMALL_DATA));
        ck_assert(!counts(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 0));
        ck_assert(counts(NGHTTP2_DATA, 0, 0));
        ck_assert(counts(NGHTTP2_DATA, 0, H2_FLOOD_SMALL_DATA - 1));
        for (unsigned type = NGHTTP2_PRIORITY; type <= UINT8_MAX; type++)
                ck_assert(counts((uint8_t)type, 0, 100));
}
END_TEST

static bool ping(struct h2_flood *flood, uint64_t now_usec) {
        static const uint8_t bytes[] = {0, 0, 8, NGHTTP2_PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5,
                                        6, 7, 8};

        return h2_flood_scan(flood, bytes, sizeof(bytes), now_usec);
}

START_TEST(a_second_has_its_bound) {
        struct h2_flood flood = {0};

        for (unsigned i = 0; i < H2_FLOOD_FRAMES; i++)
                ck_assert(ping(&flood, START));
        ck_assert(!ping(&flood, START + USEC_PER_SEC - 1));
        flood = (struct h2_flood){.second_usec = START, .frames = H2_FLOOD_FRAMES};
        ck_assert(ping(&flood, START + USEC_PER_SEC));
}
END_TEST

START_TEST(calls_earn_frames) {
        struct h2_flood flood = {0};

        for (unsigned i = 0; i < 100 * H2_FLOOD_FRAMES; i++) {
                ck_assert(ping(&flood, START));
                if (i % H2_FLOOD_CREDIT == 0)
                        h2_flood_credit(&flood);
        }
        for (unsigned i = 0; i < 1000; i++)
                h2_flood_credit(&flood);
        for (unsigned i = 0; i < H2_FLOOD_FRAMES; i++)
                ck_assert(ping(&flood, START));
        ck_assert(!ping(&flood, START));
}
END_TEST

/* Wherever the bytes are split, the count is the same. */
START_TEST(split_anywhere) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(65536);

        raw_preface(&bytes);
        raw_headers(&bytes, 1, 0);
        raw_message(&bytes, 1, 300);
        for (int i = 0; i < 5; i++)
                raw_frame(&bytes, (struct raw_frame){0x42, 0, 1, (const uint8_t *)"abcdef", 6});

        for (size_t chunk = 1; chunk < bytes.size; chunk++) {
                struct h2_flood flood;

                h2_flood_init(&flood);
                for (size_t at = 0; at < bytes.size; at += chunk) {
                        size_t left = bytes.size - at;

                        ck_assert(h2_flood_scan(&flood, bytes.data + at,
                                                left < chunk ? left : chunk, START));
                }
                ck_assert_uint_eq(flood.frames, 6);
        }
}
END_TEST

SUITE_MAIN("h2_flood", what_counts, a_second_has_its_bound, calls_earn_frames, split_anywhere)
