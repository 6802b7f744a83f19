/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session_crypto.h"

#include <string.h>

#include "suite.h"

/* The expected values are what Python's hmac and hashlib, and "openssl enc -aes-128-cfb", make of the formulas of
 * Part 1. */
static uint8_t key_bytes[SESSION_DIGEST_SIZE + 4];
static uint8_t newer[SESSION_DIGEST_SIZE];
static uint8_t older[SESSION_DIGEST_SIZE];
static const struct session_nonces nonces = {.newer = newer, .older = older};

static struct wla_bytes key_of(size_t size) {
        for (size_t i = 0; i < SESSION_DIGEST_SIZE; i++) {
                key_bytes[i] = (uint8_t)(i + 1);
                newer[i] = (uint8_t)(0xa0 + i % 16);
                older[i] = (uint8_t)(0x50 + i % 16);
        }
        memcpy(key_bytes + SESSION_DIGEST_SIZE, "pass", 4);
        return (struct wla_bytes){.data = key_bytes, .size = size};
}

START_TEST(a_key_is_derived_by_kdfa) {
        static const uint8_t expected[] = {
                0x3c, 0xbe, 0x12, 0xe6, 0xe1, 0xf9, 0x4a, 0x37, 0x61, 0x20, 0xe2,
                0x67, 0x62, 0x29, 0x48, 0x1b, 0xf3, 0x4f, 0x3a, 0xc3, 0x4f, 0x45,
                0x94, 0x2b, 0x41, 0x95, 0x4d, 0x56, 0x77, 0x69, 0x4e, 0x76,
        };
        uint8_t derived[SESSION_DIGEST_SIZE];

        ck_assert_int_eq(session_derive(key_of(SESSION_DIGEST_SIZE), "ATH", nonces, derived), 0);
        ck_assert_mem_eq(derived, expected, sizeof(expected));
        ck_assert_int_eq(session_derive(key_of(SESSION_DIGEST_SIZE), "a label that is too long",
                                        nonces, derived),
                         -1);
}
END_TEST

START_TEST(an_hmac_covers_nonces_and_attributes) {
        static const uint8_t parameters[] = {
                0xf5, 0x28, 0x21, 0x2a, 0x49, 0x6d, 0xc7, 0xa0, 0xe9, 0xa5, 0x7c,
                0x12, 0x9b, 0x56, 0x1a, 0xa4, 0x60, 0x93, 0x64, 0xd7, 0x0f, 0x88,
                0x6c, 0x09, 0xd6, 0x68, 0xe0, 0x07, 0x97, 0x52, 0x1e, 0xb5,
        };
        static const uint8_t expected[] = {
                0xb0, 0x6a, 0xa5, 0x9a, 0x62, 0x23, 0x47, 0xf0, 0xe0, 0x40, 0xd1,
                0xab, 0x82, 0xf6, 0x78, 0x80, 0x5d, 0x26, 0x89, 0x3d, 0xef, 0xbe,
                0xca, 0xfb, 0xa8, 0x01, 0x9a, 0xe8, 0x85, 0x9e, 0xfd, 0x58,
        };
        const struct session_nonces swapped = {.newer = older, .older = newer};
        struct wla_bytes key = key_of(SESSION_DIGEST_SIZE);
        uint8_t hmac[SESSION_DIGEST_SIZE];

        ck_assert_int_eq(session_authenticate(key, parameters, nonces, 0x41, hmac), 0);
        ck_assert_mem_eq(hmac, expected, sizeof(expected));
        ck_assert_int_eq(session_authenticate(key, parameters, nonces, 0x01, hmac), 0);
        ck_assert_mem_ne(hmac, expected, sizeof(expected));
        ck_assert_int_eq(session_authenticate(key, parameters, swapped, 0x41, hmac), 0);
        ck_assert_mem_ne(hmac, expected, sizeof(expected));
}
END_TEST

START_TEST(a_parameter_is_encrypted_in_cfb_mode) {
        static const char text[] = "sixteen bytes of, and some more";
        static const uint8_t expected[] = {
                0x96, 0xa8, 0x78, 0x99, 0x03, 0x24, 0xb7, 0x79, 0x0e, 0xa5, 0x27,
                0xc8, 0x4d, 0x84, 0xab, 0x35, 0xd8, 0xaa, 0x41, 0xe2, 0xa0, 0xe3,
                0x7d, 0x45, 0x79, 0x39, 0x8a, 0x5d, 0xfa, 0x1b, 0x06,
        };
        const struct wla_bytes plain = {.data = (const uint8_t *)text, .size = strlen(text)};
        struct wla_bytes key = key_of(sizeof(key_bytes));
        uint8_t encrypted[sizeof(expected)];
        uint8_t again[sizeof(expected)];

        ck_assert_int_eq(session_cipher_parameter(key, nonces, true, plain, encrypted), 0);
        ck_assert_mem_eq(encrypted, expected, sizeof(expected));
        ck_assert_int_eq(session_cipher_parameter(
                                 key, nonces, false,
                                 (struct wla_bytes){.data = encrypted, .size = sizeof(encrypted)},
                                 again),
                         0);
        ck_assert_mem_eq(again, text, sizeof(again));
}
END_TEST

SUITE_MAIN("session crypto", a_key_is_derived_by_kdfa, an_hmac_covers_nonces_and_attributes,
           a_parameter_is_encrypted_in_cfb_mode)
