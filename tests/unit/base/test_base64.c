/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/base64.h"

START_TEST(vectors_of_rfc_4648) {
        static const char *const vectors[][2] = {
                {"", ""},
                {"f", "Zg=="},
                {"fo", "Zm8="},
                {"foo", "Zm9v"},
                {"foob", "Zm9vYg=="},
                {"fooba", "Zm9vYmE="},
                {"foobar", "Zm9vYmFy"},
        };

        for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
                _cleanup_buf_ struct buf encoded = BUF_WITH_LIMIT(64);
                _cleanup_buf_ struct buf decoded = BUF_WITH_LIMIT(64);
                struct wla_error err = {0};
                const char *plain = vectors[i][0];

                ck_assert_int_eq(
                        base64_append(&encoded, (const uint8_t *)plain, strlen(plain), &err), 0);
                ck_assert_str_eq(buf_text(&encoded, &err), vectors[i][1]);
                ck_assert_int_eq(
                        base64_decode(vectors[i][1], strlen(vectors[i][1]), &decoded, &err), 0);
                ck_assert_str_eq(buf_text(&decoded, &err), plain);
        }
}
END_TEST

START_TEST(agrees_with_openssl) {
        for (size_t size = 1; size < 300; size++) {
                _cleanup_buf_ struct buf decoded = BUF_WITH_LIMIT(1024);
                struct wla_error err = {0};
                uint8_t data[300];
                char ours[512];
                char theirs[512];

                ck_assert_int_eq(RAND_bytes(data, (int)size), 1);
                base64_encode(data, size, ours);
                ck_assert_uint_eq(EVP_EncodeBlock((uint8_t *)theirs, data, (int)size),
                                  base64_encoded_size(size));
                ck_assert_mem_eq(ours, theirs, base64_encoded_size(size));
                ck_assert_int_eq(base64_decode(ours, base64_encoded_size(size), &decoded, &err), 0);
                ck_assert_uint_eq(decoded.size, size);
                ck_assert_mem_eq(decoded.data, data, size);
        }
}
END_TEST

START_TEST(is_strict) {
        static const char *const wrong[] = {
                "Z",    "Zg",       "Zg=",     "Zg==Zg==",  "Zh==", "Zm9=",
                "=g==", "Z===",     "====",    "Zm9v\n",    "Zm 9", "Zm-v",
                "Zm_v", "Zm9v====", "Zm\x80v", "Zg==\n===", "Z=g=",
        };

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                _cleanup_buf_ struct buf decoded = BUF_WITH_LIMIT(64);
                struct wla_error err = {0};

                ck_assert_int_eq(base64_decode(wrong[i], strlen(wrong[i]), &decoded, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_uint_eq(decoded.size, 0);
        }
}
END_TEST

/* Every character is in the alphabet or refused. */
START_TEST(knows_every_character) {
        static const char alphabet[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

        for (int character = 0; character < 256; character++) {
                _cleanup_buf_ struct buf decoded = BUF_WITH_LIMIT(64);
                struct wla_error err = {0};
                char text[4] = {'A', 'A', 'A', (char)character};
                const char *at = memchr(alphabet, character, 64);

                if (character == '=')
                        continue;
                ck_assert_int_eq(base64_decode(text, 4, &decoded, &err), at ? 0 : -1);
                if (at)
                        ck_assert_uint_eq(decoded.data[2], (unsigned)(at - alphabet));
        }
}
END_TEST

/* One wrong character anywhere in a long text. */
START_TEST(sees_every_position) {
        char text[200];

        for (size_t i = 0; i < sizeof(text); i++) {
                _cleanup_buf_ struct buf decoded = BUF_WITH_LIMIT(256);
                struct wla_error err = {0};

                memset(text, 'A', sizeof(text));
                text[i] = '/';
                ck_assert_int_eq(base64_decode(text, sizeof(text), &decoded, &err), 0);
                ck_assert_uint_ne(decoded.data[i / 4 * 3 + (i % 4 < 3 ? i % 4 : 2)], 0);
                for (int character = 0; character < 256; character++) {
                        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"
                                   "/",
                                   character) &&
                            character)
                                continue;
                        buf_reset(&decoded);
                        text[i] = (char)character;
                        ck_assert(base64_decode(text, sizeof(text), &decoded, &err) == -1 ||
                                  (character == '=' && i == sizeof(text) - 1));
                }
        }
}
END_TEST

SUITE_MAIN("base64", vectors_of_rfc_4648, agrees_with_openssl, is_strict, knows_every_character,
           sees_every_position)
