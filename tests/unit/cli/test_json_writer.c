/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "suite.h"

#include <string.h>

#include "cli/json_writer.h"

static void write_sample(struct json_writer *writer) {
        json_open_object(writer, NULL);
        json_put_text(writer, "text", "say \"ja\"\n");
        json_put_text(writer, "nothing", NULL);
        json_open_array(writer, "numbers");
        json_put_number(writer, NULL, 0);
        json_put_number(writer, NULL, UINT64_MAX);
        json_close_array(writer);
        json_open_array(writer, "empty");
        json_close_array(writer);
        json_put_bool(writer, "yes", true);
        json_open_object(writer, "inner");
        json_put_bool(writer, "no", false);
        json_close_object(writer);
        json_close_object(writer);
}

START_TEST(writes_what_json_is) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        struct wla_error err = {0};

        write_sample(&writer);
        ck_assert_int_eq(writer.error.code, WLA_OK);
        ck_assert_str_eq(
                buf_text(&writer.text, &err),
                "{\"text\":\"say \\\"ja\\\"\\u000a\",\"nothing\":null,\"numbers\":[0,"
                "18446744073709551615],\"empty\":[],\"yes\":true,\"inner\":{\"no\":false}}");
}
END_TEST

START_TEST(a_failure_sticks) {
        _cleanup_json_writer_ struct json_writer writer = {.text.limit = 20};
        struct wla_error err = {0};

        write_sample(&writer);
        ck_assert_int_eq(json_writer_print(&writer, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "writing JSON: more than 20 bytes");
}
END_TEST

START_TEST(allocations_may_fail) {
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

                write_sample(&writer);
                fail_allocation_disarm();
                ck_assert(writer.error.code != WLA_OK || !fail_allocation_hit());
        }
}
END_TEST

SUITE_MAIN("json_writer", writes_what_json_is, a_failure_sticks, allocations_may_fail)
