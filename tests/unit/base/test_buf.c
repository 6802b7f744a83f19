/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>

#include "base/buf.h"
#include "fail_allocation.h"

START_TEST(grows_to_its_limit) {
        _cleanup_buf_ struct buf buf = BUF_WITH_LIMIT(1000);
        struct wla_error err = {0};

        for (int i = 0; i < 10; i++)
                ck_assert_ptr_nonnull(buf_extend(&buf, 100, &err));
        ck_assert_int_eq(buf_append(&buf, "x", 1, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        ck_assert_uint_eq(buf.size, 1000);
        ck_assert_ptr_null(buf_extend(&buf, SIZE_MAX, &err));
}
END_TEST

START_TEST(text_and_consume) {
        _cleanup_buf_ struct buf buf = BUF_WITH_LIMIT(64);
        struct wla_error err = {0};

        ck_assert_int_eq(buf_append_text(&buf, "ab", &err), 0);
        ck_assert_int_eq(buf_printf(&buf, &err, "%d", 17), 0);
        ck_assert_str_eq(buf_text(&buf, &err), "ab17");
        buf_consume(&buf, 1);
        ck_assert_str_eq(buf_text(&buf, &err), "b17");
        buf_reset(&buf);
        ck_assert_uint_eq(buf.size, 0);
        ck_assert_str_eq(buf_text(&buf, &err), "");
        ck_assert_int_eq(buf_printf(&buf, &err, "%100d", 1), -1);
}
END_TEST

START_TEST(failed_allocation_changes_nothing) {
        struct wla_error err = {0};

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf buf = BUF_WITH_LIMIT(10000);
                int outcome = buf_append_text(&buf, "first", &err);
                size_t size = buf.size;

                if (outcome == 0 && !buf_extend(&buf, 5000, &err))
                        outcome = -1;
                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                if (outcome < 0)
                        ck_assert_uint_eq(buf.size, size);
        }
}
END_TEST

SUITE_MAIN("buf", grows_to_its_limit, text_and_consume, failed_allocation_changes_nothing)
