/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <string.h>

#include "wlagent/error.h"

START_TEST(chain_grows_outwards) {
        struct wla_error err = {0};

        ck_assert_str_eq(wla_error_text(&err), "");
        ck_assert_int_eq(wla_fail_hint(&err, WLA_E_TPM, "run setup", "PCR %d changed", 7), -1);
        ck_assert_int_eq(wla_wrap(&err, "opening %s", "k"), -1);
        ck_assert_str_eq(wla_error_text(&err), "opening k: PCR 7 changed");

        char text[64];
        wla_error_format(&err, text, sizeof(text));
        ck_assert_str_eq(text, "opening k: PCR 7 changed (run setup)");
}
END_TEST

START_TEST(a_new_failure_forgets_the_old) {
        struct wla_error err = {0};

        (void)wla_fail_hint(&err, WLA_E_TPM, "hint", "old");
        (void)wla_fail(&err, WLA_E_INPUT, "new");
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_ptr_null(err.hint);
        ck_assert_str_eq(wla_error_text(&err), "new");
}
END_TEST

START_TEST(overflow_drops_outer_context) {
        struct wla_error err = {0};
        char wide[2000];

        memset(wide, 'x', sizeof(wide) - 1);
        wide[sizeof(wide) - 1] = '\0';
        (void)wla_fail(&err, WLA_E_INPUT, "cause");
        (void)wla_wrap(&err, "%s", wide);
        ck_assert_str_eq(wla_error_text(&err), "cause");
        for (int i = 0; i < 600; i++)
                (void)wla_wrap(&err, "c");
        ck_assert(strstr(wla_error_text(&err), "cause") != NULL);
        (void)wla_fail(&err, WLA_E_INPUT, "%s", wide);
        ck_assert_uint_eq(strlen(wla_error_text(&err)), sizeof(err.buffer) - 1);
}
END_TEST

START_TEST(errno_has_words) {
        struct wla_error err = {0};

        (void)wla_fail_errno(&err, ENOENT, "cannot open %s", "/x");
        ck_assert_str_eq(wla_error_text(&err), "cannot open /x: No such file or directory");
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        (void)wla_fail_errno(&err, 99999, "y");
        ck_assert_str_eq(wla_error_text(&err), "y: unknown error");
}
END_TEST

START_TEST(codes_map_to_grpc) {
        ck_assert_int_eq(wla_code_grpc_status(WLA_OK), 0);
        ck_assert_int_eq(wla_code_grpc_status(WLA_E_INPUT), 3);
        ck_assert_int_eq(wla_code_grpc_status(WLA_E_UNAVAILABLE), 14);
        ck_assert_int_eq(wla_code_grpc_status((enum wla_code)99), 2);
        ck_assert_str_eq(wla_code_token(WLA_E_NOT_FOUND), "not-found");
        ck_assert_str_eq(wla_code_token((enum wla_code)99), "unknown");
}
END_TEST

SUITE_MAIN("error", chain_grows_outwards, a_new_failure_forgets_the_old,
           overflow_drops_outer_context, errno_has_words, codes_map_to_grpc)
