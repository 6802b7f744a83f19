/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/envelope_file.h"

#include <string.h>

#include "suite.h"

static int decode(const char *text, struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;

        ck_assert_int_eq(wla_secret_new(strlen(text), &secret, err), 0);
        memcpy(wla_secret_fill(secret), text, strlen(text));
        return envelope_file_decode(secret, ret, err);
}

START_TEST(blocks) {
        static const struct {
                const char *text;
                const char *der;
        } rows[] = {
                {"-----BEGIN PRIVATE KEY-----\nYWJj\n-----END PRIVATE KEY-----\n", "abc"},
                {"-----BEGIN RSA PRIVATE KEY-----\nYWJj\nZGVm\n-----END RSA PRIVATE KEY-----",
                 "abcdef"},
                {"-----BEGIN PRIVATE KEY-----\nYWJjZA==\n-----END PRIVATE KEY-----\n", "abcd"},
                {"-----BEGIN PRIVATE KEY-----\nYWJjZGU=\r\n-----END PRIVATE KEY-----\n", "abcde"},
                {"a comment\n-----BEGIN PRIVATE KEY-----\nYWJj\n-----END PRIVATE KEY-----\n",
                 "abc"},
        };
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                _cleanup_secret_ struct wla_secret *der = NULL;

                ck_assert_int_eq(decode(rows[i].text, &der, &err), 0);
                ck_assert_uint_eq(wla_secret_view(der).size, strlen(rows[i].der));
                ck_assert_mem_eq(wla_secret_view(der).data, rows[i].der, strlen(rows[i].der));
        }
}
END_TEST

START_TEST(no_blocks) {
        static const char *const texts[] = {
                "YWJj\n",
                "-----BEGIN PRIVATE KEY-----\nYWJj\n",
                "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
                "-----BEGIN PRIVATE KEY-----\n\n\n-----END PRIVATE KEY-----\n",
                "-----BEGIN PRIVATE KEY-----\nYWJ\n-----END PRIVATE KEY-----\n",
                "-----BEGIN PRIVATE KEY-----\nYW!j\n-----END PRIVATE KEY-----\n",
                "-----BEGIN PRIVATE KEY-----\nYWJj\n-----END RSA PRIVATE KEY-----\n",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nYWJj\n-----END ENCRYPTED PRIVATE "
                "KEY-----\n",
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nYWJj\n"
                "-----END RSA PRIVATE KEY-----\n",
                "-----BEGIN PUBLIC KEY-----\nYWJj\n-----END PUBLIC KEY-----\n",
        };
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct wla_secret *der = NULL;

                ck_assert_msg(decode(texts[i], &der, &err) == -1, "%s", texts[i]);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_ptr_null(der);
        }
}
END_TEST

SUITE_MAIN("envelope_file", blocks, no_blocks)
