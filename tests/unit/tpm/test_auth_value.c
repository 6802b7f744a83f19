/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/auth_value.h"

#include <ctype.h>
#include <string.h>

#include "suite.h"
#include "tpm/host_key.h"

static struct wla_secret *secret_of(const char *text, size_t size) {
        struct wla_secret *secret = NULL;
        struct wla_error err = {0};

        if (size == 0)
                return NULL;
        ck_assert_int_eq(wla_secret_new(size, &secret, &err), 0);
        memcpy(wla_secret_fill(secret), text, size);
        return secret;
}

static void begin(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
}

START_TEST(texts_are_decoded_as_intels_agent_does) {
        static const struct {
                const char *text;
                const char *value;
                size_t size;
        } cases[] = {
                {"", "", 0},
                {"00112233445566778899aabbccddeeff01234567",
                 "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01\x23\x45\x67",
                 20},
                {"00112233445566778899AABBCCDDEEFF01234567",
                 "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01\x23\x45\x67",
                 20},
                /* Zeros at the end do not count. */
                {"00112233445566778899aabbccddeeff01230000",
                 "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01\x23", 18},
                {"0000000000000000000000000000000000000000", "", 0},
                {"hex:", "", 0},
                {"hex:0aF0", "\x0a\xf0", 2},
                {"hex:00", "", 0},
                {"secret", "secret", 6},
                {"0011", "0011", 4},
                {"12345678901234567890123456789012", "12345678901234567890123456789012", 32},
        };

        begin();
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                _cleanup_secret_ struct wla_secret *text = secret_of(cases[i].text,
                                                                     strlen(cases[i].text));
                _cleanup_secret_ struct wla_secret *value = NULL;
                struct wla_error err = {0};

                ck_assert_msg(auth_value_decode(text, &value, &err) == 0, "%s: %s", cases[i].text,
                              wla_error_text(&err));
                ck_assert_msg((value == NULL) == (cases[i].size == 0), "%s", cases[i].text);
                if (!value)
                        continue;
                ck_assert_uint_eq(wla_secret_view(value).size, cases[i].size);
                ck_assert_mem_eq(wla_secret_view(value).data, cases[i].value, cases[i].size);
        }
}
END_TEST

START_TEST(what_is_no_secret_is_refused_and_not_quoted) {
        static const char *const texts[] = {
                "hex:0",
                "hex:0g",
                "hex: 00",
                "hex:000000000000000000000000000000000000000000000000000000000000000000",
                "123456789012345678901234567890123",
                "g0112233445566778899aabbccddeeff01234567",
        };

        begin();
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                _cleanup_secret_ struct wla_secret *text = secret_of(texts[i], strlen(texts[i]));
                struct wla_secret *value = NULL;
                struct wla_error err = {0};

                ck_assert_msg(auth_value_decode(text, &value, &err) < 0, "%s", texts[i]);
                ck_assert_ptr_null(value);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_ptr_null(strstr(wla_error_text(&err), texts[i] + 4));
        }
}
END_TEST

START_TEST(new_secrets_are_random_hex) {
        bool seen['f' + 1] = {false};
        struct wla_secret *former = NULL;

        begin();
        for (int i = 0; i < 64; i++) {
                struct wla_secret *secret = NULL;
                struct wla_error err = {0};

                ck_assert_int_eq(host_key_secret_new(&secret, &err), 0);
                struct wla_bytes text = wla_secret_view(secret);
                ck_assert_uint_eq(text.size, 40);
                for (size_t j = 0; j < text.size; j++) {
                        ck_assert(isdigit(text.data[j]) ||
                                  (text.data[j] >= 'a' && text.data[j] <= 'f'));
                        seen[text.data[j]] = true;
                }
                if (former)
                        ck_assert_mem_ne(text.data, wla_secret_view(former).data, 40);
                wla_secret_free(former);
                former = secret;
        }
        wla_secret_free(former);
        for (const char *digit = "0123456789abcdef"; *digit; digit++)
                ck_assert_msg(seen[(size_t)*digit], "%c", *digit);
}
END_TEST

SUITE_MAIN("auth_value", texts_are_decoded_as_intels_agent_does,
           what_is_no_secret_is_refused_and_not_quoted, new_secrets_are_random_hex)
