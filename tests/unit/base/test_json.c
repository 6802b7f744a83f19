/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "fail_allocation.h"

static int check_text(const char *text, struct json_value *ret, struct wla_error *err) {
        return json_check(text, strlen(text), ret, err);
}

START_TEST(accepts_what_rfc_8259_allows) {
        static const char *const right[] = {
                "null",
                " true ",
                "false",
                "0",
                "-0",
                "-1.5e+10",
                "1E5",
                "\"\"",
                "[]",
                "{}",
                "[1,2]",
                "{\"a\":{\"b\":[{},[]]},\"c\":null}",
                "\"\\u00e9\\ud83d\\ude00\\n\"",
                "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
                "\t[ 1 ,\r\n 2 ] ",
        };

        for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
                struct json_value value;
                struct wla_error err = {0};

                ck_assert_msg(check_text(right[i], &value, &err) == 0, "%s: %s", right[i],
                              wla_error_text(&err));
        }
}
END_TEST

START_TEST(refuses_everything_else) {
        static const char *const wrong[] = {
                "",
                " ",
                "nul",
                "True",
                "01",
                "+1",
                "1.",
                ".5",
                "1e",
                "--1",
                "\"",
                "\"\n\"",
                "\"\\x\"",
                "\"\\u12g4\"",
                "\"\\ud800\"",
                "\"\\ud800\\u0041\"",
                "\"\\udc00\"",
                "\"\xff\"",
                "\"\xc0\x80\"",
                "\"\xed\xa0\x80\"",
                "\"\xf4\x90\x80\x80\"",
                "\"\xe2\x82\"",
                "[",
                "[1",
                "[1,",
                "[1,]",
                "[,1]",
                "[1 2]",
                "]",
                "{",
                "{\"a\"",
                "{\"a\":",
                "{\"a\":1",
                "{\"a\":1,",
                "{\"a\":1,}",
                "{a:1}",
                "{\"a\" 1}",
                "{1:2}",
                "[1}",
                "{\"a\":1]",
                "1 2",
                "{} {}",
                "NaN",
                "// c\n1",
                "'a'",
                "{\"a\":1,\"a\":2}",
                "{\"a\":1,\"\\u0061\":2}",
                "[{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]",
        };

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct json_value value;
                struct wla_error err = {0};

                ck_assert_msg(check_text(wrong[i], &value, &err) < 0, "accepted %s", wrong[i]);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "JSON: "));
        }
}
END_TEST

/* Every prefix of a text is refused, and none reads past its end (ASan watches). */
START_TEST(every_prefix_is_refused) {
        static const char text[] =
                "{\"a\":[1,-2.5e3,\"\\u00e9\\ud83d\\ude00\",{\"b\":null}],\"c\":true}";

        for (size_t size = 0; size < strlen(text); size++) {
                char *copy = malloc(size + 1);
                struct json_value value;
                struct wla_error err = {0};

                memcpy(copy, text, size);
                copy = realloc(copy, size > 0 ? size : 1);
                ck_assert_int_eq(json_check(copy, size, &value, &err), -1);
                free(copy);
        }
}
END_TEST

START_TEST(depth_and_width_are_bounded) {
        char text[4096];
        struct json_value value;
        struct wla_error err = {0};

        for (size_t depth = 1; depth <= 2 * JSON_DEPTH_MAX; depth++) {
                memset(text, '[', depth);
                memset(text + depth, ']', depth);
                ck_assert_int_eq(json_check(text, 2 * depth, &value, &err),
                                 depth <= JSON_DEPTH_MAX ? 0 : -1);
        }

        size_t used = 1;
        text[0] = '{';
        for (size_t i = 0; i < JSON_MEMBERS_MAX; i++)
                used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\"m%zu\":0",
                                         i ? "," : "", i);
        text[used] = '}';
        ck_assert_int_eq(json_check(text, used + 1, &value, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "too many members"));
}
END_TEST

#define LONG_NAMES 62

/* CPU time to check an object whose names are long and begin, or do not begin, alike. */
static clock_t time_long_names(bool alike) {
        static char text[512 * 1024];
        const int length = 8000;
        struct json_value value;
        struct wla_error err = {0};
        size_t at = 0;

        text[at++] = '{';
        for (int i = 0; i < LONG_NAMES; i++)
                at += (size_t)snprintf(text + at, sizeof(text) - at, "%s\"%02d%0*d%02d\":1",
                                       i > 0 ? "," : "", alike ? 0 : i, length, 0, alike ? i : 0);
        text[at++] = '}';

        clock_t start = clock();
        ck_assert_int_eq(json_check(text, at, &value, &err), 0);
        return clock() - start;
}

/* A hostile text must not keep the loop busy for longer than its length deserves. */
START_TEST(long_names_that_begin_alike_cost_no_more) {
        (void)time_long_names(false);
        clock_t different = time_long_names(false);
        clock_t alike = time_long_names(true);

        ck_assert_int_lt(alike, 8 * different + CLOCKS_PER_SEC / 200);
}
END_TEST

START_TEST(members_are_found) {
        struct json_value value;
        struct wla_error err = {0};

        ck_assert_int_eq(
                check_text("{\"KID\":1, \"kid\" : \"x\\/y\" ,\"n\":{\"kid\":2}}", &value, &err), 0);

        struct json_value kid = json_member(&value, "kid");
        char text[8];
        ck_assert_int_eq(json_string_copy(&kid, text, sizeof(text), &err), 0);
        ck_assert_str_eq(text, "x/y");
        kid = json_member_nocase(&value, "kid");
        ck_assert_int_eq(kid.type, JSON_STRING);
        kid = json_member_nocase(&value, "kId");
        ck_assert_int_eq(kid.type, JSON_NUMBER);
        kid = json_member(&value, "ki");
        ck_assert_int_eq(kid.type, JSON_ABSENT);
        kid = json_member(&kid, "kid");
        ck_assert_int_eq(kid.type, JSON_ABSENT);
        ck_assert_int_eq(json_string_copy(&kid, text, sizeof(text), &err), -1);
}
END_TEST

START_TEST(strings_are_decoded) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(64);
        struct json_value value;
        struct wla_error err = {0};
        char small[4];

        ck_assert_int_eq(check_text("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00z\"",
                                    &value, &err),
                         0);
        ck_assert_int_eq(json_string(&value, &text, &err), 0);
        ck_assert_str_eq(buf_text(&text, &err),
                         "a\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z");
        ck_assert_int_eq(check_text("\"abcd\"", &value, &err), 0);
        ck_assert_int_eq(json_string_copy(&value, small, sizeof(small), &err), -1);
        ck_assert_int_eq(check_text("\"a\\u0000\"", &value, &err), 0);
        ck_assert_int_eq(json_string_copy(&value, small, sizeof(small), &err), -1);
}
END_TEST

START_TEST(numbers_are_typed) {
        static const struct {
                const char *text;
                int outcome;
        } cases[] = {
                {"0", 0},
                {"255", 0},
                {"256", -1},
                {"-1", -1},
                {"1.0", -1},
                {"1e2", -1},
                {"99999999999999999999999999", -1},
                {"\"1\"", -1},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct json_value value;
                struct wla_error err = {0};
                uint64_t number;

                ck_assert_int_eq(check_text(cases[i].text, &value, &err), 0);
                ck_assert_int_eq(json_unsigned(&value, 255, &number, &err), cases[i].outcome);
        }
}
END_TEST

START_TEST(byte_arrays) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(16);
        struct json_value value;
        struct wla_error err = {0};

        ck_assert_int_eq(check_text("[0, 1 ,255]", &value, &err), 0);
        ck_assert_int_eq(json_byte_array(&value, &bytes, &err), 0);
        ck_assert_uint_eq(bytes.size, 3);
        ck_assert_uint_eq(bytes.data[2], 255);
        ck_assert_int_eq(check_text("[256]", &value, &err), 0);
        ck_assert_int_eq(json_byte_array(&value, &bytes, &err), -1);
        ck_assert_int_eq(check_text("[[1]]", &value, &err), 0);
        ck_assert_int_eq(json_byte_array(&value, &bytes, &err), -1);
        ck_assert_int_eq(check_text("\"AA==\"", &value, &err), 0);
        ck_assert_int_eq(json_byte_array(&value, &bytes, &err), -1);
}
END_TEST

START_TEST(written_strings_read_back) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(256);
        _cleanup_buf_ struct buf back = BUF_WITH_LIMIT(256);
        static const char raw[] = "a\"\\\n\x01\x7f\xc3\xa9z";
        struct json_value value;
        struct wla_error err = {0};

        ck_assert_int_eq(json_write_string(&text, raw, strlen(raw), &err), 0);
        ck_assert_int_eq(json_check((char *)text.data, text.size, &value, &err), 0);
        ck_assert_int_eq(json_string(&value, &back, &err), 0);
        ck_assert_str_eq(buf_text(&back, &err), raw);

        buf_reset(&text);
        ck_assert_int_eq(json_write_string(&text, "\xff", 1, &err), 0);
        ck_assert_str_eq(buf_text(&text, &err), "\"\\ufffd\"");
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        struct json_value value;
        struct wla_error err = {0};

        ck_assert_int_eq(check_text("\"a\\nb\"", &value, &err), 0);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(64);
                int outcome = json_string(&value, &text, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

SUITE_MAIN("json", accepts_what_rfc_8259_allows, refuses_everything_else, every_prefix_is_refused,
           depth_and_width_are_bounded, long_names_that_begin_alike_cost_no_more, members_are_found,
           strings_are_decoded, numbers_are_typed, byte_arrays, written_strings_read_back,
           failed_allocations_are_errors)
