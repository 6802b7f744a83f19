/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "key/key_id.h"

START_TEST(four_schemes) {
        static const struct {
                const char *text;
                enum key_scheme scheme;
                const char *canonical;
        } cases[] = {
                {"local:///web-1.prod_A", KEY_SCHEME_LOCAL, "local:///web-1.prod_A"},
                {"kbs:///default/key/1", KEY_SCHEME_KBS, "kbs:///default/key/1"},
                {"https://KBS.Example:9443/kbs/v1/keys/Ab/transfer", KEY_SCHEME_HTTPS,
                 "https://kbs.example:9443/kbs/v1/keys/Ab/transfer"},
                {"wls:///images/670F263E-b34e-4e07-a520-40ac9a89f62d", KEY_SCHEME_WLS,
                 "wls:///images/670f263e-b34e-4e07-a520-40ac9a89f62d"},
                {"https://[::1]:1/x", KEY_SCHEME_HTTPS, "https://[::1]:1/x"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct wla_error err = {0};
                struct key_id id;
                struct key_id again;

                ck_assert_int_eq(key_id_parse(cases[i].text, strlen(cases[i].text), &id, &err), 0);
                ck_assert_int_eq(id.scheme, cases[i].scheme);
                ck_assert_str_eq(id.text, cases[i].canonical);
                ck_assert_int_eq(key_id_parse(id.text, strlen(id.text), &again, &err), 0);
                ck_assert(key_id_equal(&id, &again));
        }
        ck_assert_str_eq(key_scheme_name(KEY_SCHEME_HTTPS), "https");
}
END_TEST

START_TEST(hostile_texts_are_refused) {
        static const char *const wrong[] = {
                "",
                "local",
                "local:",
                "local:///",
                "local://host/k",
                "local:///.",
                "local:///..",
                "local:///.hidden",
                "local:///a/b",
                "local:///../etc/shadow",
                "local:///a%2fb",
                "local:///a b",
                "local:///a\nb",
                "local:///-x",
                "LOCAL:///k",
                "local:///k\x80",
                "local:////etc/shadow",
                "file:///etc/shadow",
                "http://h/x",
                "kbs://host/a/b/c",
                "kbs:///a/b",
                "kbs:///a/b/c/d",
                "kbs:///a//c",
                "kbs:///a/../c",
                "kbs:///a/./c",
                "kbs:///a/b/",
                "kbs:///a/b/c?x",
                "kbs+x:///a/b/c",
                "/a/b/c",
                "https://",
                "https:///x",
                "https://h",
                "https://broker@evil/",
                "https://evil#@broker/",
                "https://h/a?b",
                "https://h/a#b",
                "https://h/a b",
                "https://h/\r\nHost: x",
                "https://h\\@x/",
                "unix:/run/x",
                "wls:///images/",
                "wls:///670f263e-b34e-4e07-a520-40ac9a89f62d",
                "wls://images/670f263e-b34e-4e07-a520-40ac9a89f62d",
                "wls:///images/670f263e-b34e-4e07-a520-40ac9a89f62d/",
                "wls:///images/670f263e-b34e-1e07-a520-40ac9a89f62d",
                "wls:///images/670f263e-b34e-4e07-c520-40ac9a89f62d",
                "wls:///images/00000000-0000-0000-0000-000000000000",
                "wls:///images/../../a",
        };

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct wla_error err = {0};
                struct key_id id;

                ck_assert_msg(key_id_parse(wrong[i], strlen(wrong[i]), &id, &err) < 0,
                              "accepted %s", wrong[i]);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

START_TEST(lengths_are_bounded) {
        struct wla_error err = {0};
        struct key_id id;
        char text[2048];

        memset(text, 'a', sizeof(text));
        memcpy(text, "local:///", 9);
        ck_assert_int_eq(key_id_parse(text, 9 + KEY_NAME_MAX, &id, &err), 0);
        ck_assert_int_eq(key_id_parse(text, 9 + KEY_NAME_MAX + 1, &id, &err), -1);
        memcpy(text, "https://h/", 10);
        ck_assert_int_eq(key_id_parse(text, KEY_ID_TEXT_MAX, &id, &err), 0);
        ck_assert_uint_eq(strlen(id.text), KEY_ID_TEXT_MAX);
        ck_assert_int_eq(key_id_parse(text, KEY_ID_TEXT_MAX + 1, &id, &err), -1);
        ck_assert_int_eq(key_id_parse("local:///a\0b", 12, &id, &err), -1);
}
END_TEST

SUITE_MAIN("key_id", four_schemes, hostile_texts_are_refused, lengths_are_bounded)
