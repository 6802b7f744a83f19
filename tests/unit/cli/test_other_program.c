/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include "base/clock.h"
#include "cli/other_program.h"

static int run(char *script, uint64_t limit_usec, int *code, struct wla_error *err) {
        char shell[] = "/bin/sh";
        char option[] = "-c";
        char *const argv[] = {shell, option, script, NULL};

        *err = (struct wla_error){0};
        return other_program_run(argv, limit_usec, code, err);
}

START_TEST(exit_codes) {
        char good[] = "exit 0";
        char bad[] = "echo on no terminal; exit 7";
        char killed[] = "kill -9 $$";
        struct wla_error err;
        int code = -1;

        ck_assert_int_eq(run(good, 60 * USEC_PER_SEC, &code, &err), 0);
        ck_assert_int_eq(code, 0);
        ck_assert_int_eq(run(bad, 60 * USEC_PER_SEC, &code, &err), 0);
        ck_assert_int_eq(code, 7);
        ck_assert_int_eq(run(killed, 60 * USEC_PER_SEC, &code, &err), 0);
        ck_assert_int_eq(code, 137);
}
END_TEST

START_TEST(one_that_does_not_end) {
        char script[] = "exec sleep 1000";
        struct wla_error err;
        int code = -1;

        ck_assert_int_eq(run(script, 10 * USEC_PER_MSEC, &code, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert_int_eq(code, -1);
}
END_TEST

START_TEST(one_that_is_not_there) {
        char path[] = "/nonexistent/program";
        char *const argv[] = {path, NULL};
        struct wla_error err = {0};
        int code = -1;

        ck_assert_int_eq(other_program_run(argv, USEC_PER_SEC, &code, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
}
END_TEST

SUITE_MAIN("other_program", exit_codes, one_that_does_not_end, one_that_is_not_there)
