/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "fail_allocation.h"
#include "image/isecl_decrypt.h"
#include "isecl_fixture.h"

struct collected {
        uint8_t *bytes;
        size_t size;
        size_t pieces;
        size_t fail_at_piece; /* 0: never */
};

static int collect(void *self, struct wla_secret *plain, size_t size, uint64_t at,
                   struct wla_error *err) {
        struct collected *to = self;
        struct wla_bytes piece = wla_secret_view(plain);

        if (++to->pieces == to->fail_at_piece)
                return wla_fail(err, WLA_E_SYSTEM, "the disk is full");
        if (at != to->size || piece.size != ISECL_PIECE || size > piece.size)
                return wla_fail(err, WLA_E_INPUT, "a piece is out of its place");
        for (size_t i = size; i < piece.size; i++)
                if (piece.data[i] != 0)
                        return wla_fail(err, WLA_E_INPUT, "a piece is not filled up with zeros");
        memcpy(to->bytes + at, piece.data, size);
        to->size += size;
        /* A sink may do so. */
        memset(wla_secret_fill(plain), 0xee, piece.size);
        return 0;
}

static int decrypt(int fd, uint8_t first, struct collected *to, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = isecl_key(first);
        const struct isecl_sink sink = {.self = to, .write = collect};
        struct isecl_image image;

        return isecl_image_read(fd, &image, err) < 0 ? -1
                                                     : isecl_decrypt(fd, &image, key, &sink, err);
}

START_TEST(the_vector_opens) {
        static const uint8_t expected[16] = "QFI\xfb";
        uint8_t bytes[16];
        struct collected to = {.bytes = bytes};
        struct wla_error err = {0};
        _cleanup_close_ int fd = isecl_file(isecl_vector, sizeof(isecl_vector));

        ck_assert_int_eq(decrypt(fd, 0, &to, &err), 0);
        ck_assert_uint_eq(to.size, 16);
        ck_assert_mem_eq(bytes, expected, 16);
}
END_TEST

START_TEST(sizes_around_a_piece) {
        static const size_t sizes[] = {
                1, 511, 4096, ISECL_PIECE - 1, ISECL_PIECE, ISECL_PIECE + 1, 3 * ISECL_PIECE + 17,
        };

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                _cleanup_free_ uint8_t *file = isecl_make(0, NULL, 0, sizes[i]);
                _cleanup_free_ uint8_t *bytes = malloc(sizes[i]);
                _cleanup_close_ int fd = isecl_file(file, sizes[i] + 60);
                struct collected to = {.bytes = bytes};
                struct wla_error err = {0};

                ck_assert_int_eq(decrypt(fd, 0, &to, &err), 0);
                ck_assert_uint_eq(to.size, sizes[i]);
                ck_assert_uint_eq(to.pieces, (sizes[i] + ISECL_PIECE - 1) / ISECL_PIECE);
                for (size_t at = 0; at < sizes[i]; at++)
                        if (bytes[at] != isecl_plain_byte(at))
                                ck_abort_msg("byte %zu of %zu is wrong", at, sizes[i]);
        }
}
END_TEST

/* The offset is not authenticated; what it skips changes what the tag is about. */
START_TEST(what_is_not_the_image_does_not_pass) {
        const size_t size = 2 * ISECL_PIECE;
        static const size_t flips[] = {
                20,
                31,
                44,
                44 + ISECL_PIECE,
                43 + 2 * ISECL_PIECE,
                44 + 2 * ISECL_PIECE,
                59 + 2 * ISECL_PIECE,
        };
        _cleanup_free_ uint8_t *file = isecl_make(0, NULL, 0, size);
        _cleanup_free_ uint8_t *bytes = malloc(size);
        struct wla_error err = {0};

        for (size_t i = 0; i < sizeof(flips) / sizeof(flips[0]); i++) {
                struct collected to = {.bytes = bytes};

                file[flips[i]] ^= 0x10;
                _cleanup_close_ int fd = isecl_file(file, size + 60);
                ck_assert_int_eq(decrypt(fd, 0, &to, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                file[flips[i]] ^= 0x10;
        }

        struct collected to = {.bytes = bytes};
        _cleanup_close_ int whole = isecl_file(file, size + 60);
        ck_assert_int_eq(decrypt(whole, 1, &to, &err), -1); /* another key */
        ck_assert_int_eq(err.code, WLA_E_DENIED);

        to = (struct collected){.bytes = bytes};
        _cleanup_close_ int cut = isecl_file(file, size + 44);
        ck_assert_int_eq(decrypt(cut, 0, &to, &err), -1); /* without its tag */
        ck_assert_int_eq(err.code, WLA_E_DENIED);

        file[12] = 45;
        to = (struct collected){.bytes = bytes};
        _cleanup_close_ int moved = isecl_file(file, size + 60);
        ck_assert_int_eq(decrypt(moved, 0, &to, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
}
END_TEST

START_TEST(keys_that_are_none) {
        _cleanup_secret_ struct wla_secret *key = isecl_key(0);
        _cleanup_close_ int fd = isecl_file(isecl_vector, sizeof(isecl_vector));
        struct collected to = {0};
        const struct isecl_sink sink = {.self = &to, .write = collect};
        struct isecl_image image;
        struct wla_error err = {0};

        ck_assert_int_eq(isecl_image_read(fd, &image, &err), 0);
        wla_secret_truncate(key, 16);
        ck_assert_int_eq(isecl_decrypt(fd, &image, key, &sink, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_uint_eq(to.pieces, 0);
}
END_TEST

START_TEST(a_file_that_shrinks_and_a_sink_that_fails) {
        const size_t size = 3 * ISECL_PIECE;
        _cleanup_secret_ struct wla_secret *key = isecl_key(0);
        _cleanup_free_ uint8_t *file = isecl_make(0, NULL, 0, size);
        _cleanup_free_ uint8_t *bytes = malloc(size);
        _cleanup_close_ int fd = isecl_file(file, size + 60);
        struct isecl_image image;
        struct wla_error err = {0};

        ck_assert_int_eq(isecl_image_read(fd, &image, &err), 0);
        for (size_t n = 1; n <= 3; n++) {
                struct collected to = {.bytes = bytes, .fail_at_piece = n};
                const struct isecl_sink sink = {.self = &to, .write = collect};

                ck_assert_int_eq(isecl_decrypt(fd, &image, key, &sink, &err), -1);
                ck_assert_str_eq(wla_error_text(&err), "the disk is full");
                ck_assert_uint_eq(to.pieces, n);
        }

        struct collected to = {.bytes = bytes};
        const struct isecl_sink sink = {.self = &to, .write = collect};
        ck_assert_int_eq(ftruncate(fd, (off_t)(ISECL_PIECE + 100)), 0);
        ck_assert_int_eq(isecl_decrypt(fd, &image, key, &sink, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        _cleanup_secret_ struct wla_secret *key = isecl_key(0);
        _cleanup_close_ int fd = isecl_file(isecl_vector, sizeof(isecl_vector));
        uint8_t bytes[16];
        struct isecl_image image;
        struct wla_error err = {0};

        ck_assert_int_eq(isecl_image_read(fd, &image, &err), 0);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct collected to = {.bytes = bytes};
                const struct isecl_sink sink = {.self = &to, .write = collect};
                int outcome = isecl_decrypt(fd, &image, key, &sink, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

SUITE_MAIN("isecl_decrypt", the_vector_opens, sizes_around_a_piece,
           what_is_not_the_image_does_not_pass, keys_that_are_none,
           a_file_that_shrinks_and_a_sink_that_fails, failed_allocations_are_errors)
