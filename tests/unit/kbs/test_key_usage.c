/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/key_usage.h"

#include <stdio.h>
#include <string.h>

#include "suite.h"

START_TEST(tags) {
        static const char *const texts[] = {
                "country:USA",
                "a:1",
                "country:USA,site:DC1",
                "a:b,ab:b,abc:b",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct key_usage usage;
                struct wla_error err = {0};

                ck_assert_int_eq(key_usage_parse(texts[i], strlen(texts[i]), &usage, &err), 0);
                ck_assert_str_eq(usage.text, texts[i]);
        }
}
END_TEST

START_TEST(malformed) {
        static const struct {
                const char *text;
                const char *reason;
        } rows[] = {
                {"", "asset tag 1 does not have"},
                {"country", "asset tag 1 does not have"},
                {"country:", "asset tag 1 does not have"},
                {":USA", "asset tag 1 does not have"},
                {"country:USA:", "asset tag 1 does not have"},
                {"country:USA:TX", "asset tag 1 does not have"},
                {"country=USA", "asset tag 1 does not have"},
                {" country:USA", "asset tag 1 does not have"},
                {"country:USA ", "asset tag 1 does not have"},
                {"country:U SA", "asset tag 1 does not have"},
                {"country:U\"SA", "asset tag 1 does not have"},
                {"country:\xc3\xa4", "asset tag 1 does not have"},
                {"country:USA,", "asset tag 2 does not have"},
                {",country:USA", "asset tag 1 does not have"},
                {"country:USA,,site:1", "asset tag 2 does not have"},
                {"country:USA,site", "asset tag 2 does not have"},
                {"country:USA;site:1", "asset tag 1 does not have"},
                {"country:USA,country:CAN", "asset tag 2 has a name that came before"},
                {"country:USA,Country:USA", "asset tag 2 has a name that came before"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct key_usage usage = {"kept"};
                struct wla_error err = {0};

                ck_assert_int_eq(key_usage_parse(rows[i].text, strlen(rows[i].text), &usage, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_msg(strstr(wla_error_text(&err), rows[i].reason), "'%s': %s",
                              rows[i].text, wla_error_text(&err));
                ck_assert_str_eq(usage.text, "kept");
        }
}
END_TEST

START_TEST(a_zero_byte_is_no_end) {
        struct key_usage usage;
        struct wla_error err = {0};

        ck_assert_int_eq(key_usage_parse("a:b\0,c:d", 8, &usage, &err), -1);
}
END_TEST

START_TEST(limits) {
        struct key_usage usage;
        struct wla_error err = {0};
        char text[KEY_USAGE_MAX + 2];

        memset(text, 'a', sizeof(text));
        text[1] = ':';
        ck_assert_int_eq(key_usage_parse(text, KEY_USAGE_MAX, &usage, &err), 0);
        ck_assert_int_eq(key_usage_parse(text, KEY_USAGE_MAX + 1, &usage, &err), -1);

        size_t size = 0;
        for (unsigned i = 0; i <= KEY_USAGE_TAGS; i++)
                size += (size_t)snprintf(text + size, sizeof(text) - size, "%sn%u:v", i ? "," : "",
                                         i);
        ck_assert_int_eq(key_usage_parse(text, size, &usage, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "more than 16"));
}
END_TEST

SUITE_MAIN("key_usage", tags, malformed, a_zero_byte_is_no_end, limits)
