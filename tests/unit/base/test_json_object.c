/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/json_object.h"
#include "fail_allocation.h"

static struct json_value parse(const char *text) {
        struct wla_error err = {0};
        struct json_value value;

        ck_assert_int_eq(json_check(text, strlen(text), &value, &err), 0);
        return value;
}

static int read_pair(const char *text, struct json_value *a, struct json_value *b,
                     struct wla_error *err) {
        struct json_value object = parse(text);
        const struct json_field fields[] = {
                {"a", a, JSON_NUMBER, false},
                {"b", b, JSON_STRING, true},
        };

        return json_read_object(&object, fields, 2, err);
}

START_TEST(known_members_are_read) {
        struct wla_error err = {0};
        struct json_value a;
        struct json_value b;

        ck_assert_int_eq(read_pair("{\"b\":\"x\",\"a\":1}", &a, &b, &err), 0);
        ck_assert(a.type == JSON_NUMBER && json_string_is(&b, "x"));
        ck_assert_int_eq(read_pair("{\"a\":1}", &a, &b, &err), 0);
        ck_assert(b.type == JSON_ABSENT);
}
END_TEST

START_TEST(everything_else_is_refused) {
        static const struct {
                const char *text;
                const char *error;
        } cases[] = {
                {"[]", "JSON: an object is expected"},
                {"{}", "member \"a\" is missing"},
                {"{\"a\":\"1\"}", "member \"a\" has the wrong type"},
                {"{\"a\":1,\"c\":2}", "unknown member \"c\""},
                {"{\"a\":1,\"A\":2}", "unknown member \"A\""},
                {"{\"\\u0061\":1}", "unknown member \"\\u0061\""},
                {"{\"a\":1,\"b\":null}", "member \"b\" has the wrong type"},
        };
        struct json_value a;
        struct json_value b;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct wla_error err = {0};

                ck_assert_int_eq(read_pair(cases[i].text, &a, &b, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_str_eq(wla_error_text(&err), cases[i].error);
        }
}
END_TEST

START_TEST(members_are_counted) {
        struct json_value empty = parse("{}");
        struct json_value two = parse("{\"a\":{\"b\":1,\"c\":2},\"d\":[3]}");
        struct json_value none = parse("[1]");

        ck_assert_uint_eq(json_count_members(&empty), 0);
        ck_assert_uint_eq(json_count_members(&two), 2);
        ck_assert_uint_eq(json_count_members(&none), 0);
}
END_TEST

START_TEST(numbers_in_quotes) {
        static const char *const bad[] = {"1",       "\"\"",
                                          "\"-1\"",  "\"+1\"",
                                          "\"01\"",  "\"1.0\"",
                                          "\"1e2\"", "\" 1\"",
                                          "\"1 \"",  "\"101\"",
                                          "\"0x1\"", "\"\\u0031\"",
                                          "null",    "\"99999999999999999999999\""};
        struct wla_error err = {0};
        uint64_t number;

        struct json_value zero = parse("\"0\"");
        ck_assert_int_eq(json_decimal_string(&zero, 100, &number, &err), 0);
        ck_assert_uint_eq(number, 0);
        struct json_value most = parse("\"18446744073709551615\"");
        ck_assert_int_eq(json_decimal_string(&most, UINT64_MAX, &number, &err), 0);
        ck_assert_uint_eq(number, UINT64_MAX);

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct json_value value = parse(bad[i]);

                ck_assert_msg(json_decimal_string(&value, 100, &number, &err) == -1, "%s", bad[i]);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

START_TEST(base64_of_a_fixed_size) {
        static const char *const bad[] = {"\"AAEC\"",          "\"AAECAwQ=\"", "\"AAECAw=\"",
                                          "\"AAECAx==\"",      "\"AAEC_w==\"", "7",
                                          "\"\\u0041AECAw==\""};
        struct json_value good = parse("\"AAECAw==\"");
        struct wla_error err = {0};
        uint8_t bytes[4];

        ck_assert_int_eq(json_base64(&good, bytes, 4, &err), 0);
        ck_assert_mem_eq(bytes, "\0\1\2\3", 4);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct json_value value = parse(bad[i]);

                ck_assert_msg(json_base64(&value, bytes, 4, &err) == -1, "%s", bad[i]);
        }

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int outcome = json_base64(&good, bytes, 4, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

SUITE_MAIN("json_object", known_members_are_read, everything_else_is_refused, members_are_counted,
           numbers_in_quotes, base64_of_a_fixed_size)
