/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/filter_program.h"

static char shell[] = "/bin/sh";
static char option_c[] = "-c";

static int run(char *script, struct wla_bytes input, uint64_t limit_usec, struct buf *output,
               struct wla_error *err) {
        char *const argv[] = {shell, option_c, script, NULL};
        const struct filter_program program = {
                .argv = argv,
                .input = input,
                .limit_usec = limit_usec,
        };

        return filter_program_run(&program, output, err);
}

static size_t open_descriptors(void) {
        DIR *directory = opendir("/proc/self/fd");
        size_t count = 0;

        ck_assert_ptr_nonnull(directory);
        while (readdir(directory))
                count++;
        (void)closedir(directory);
        return count;
}

#define TEXT(text) ((struct wla_bytes){.data = (const uint8_t *)(text), .size = strlen(text)})
#define LONG_USEC  (60 * USEC_PER_SEC)

START_TEST(gives_the_input_and_takes_the_output) {
        static uint8_t most[FILTER_INPUT_MAX];
        _cleanup_buf_ struct buf output = BUF_WITH_LIMIT(2 * sizeof(most));
        struct wla_error err = {0};
        char script[] = "cat; echo much is said >&2";
        size_t before = open_descriptors();

        memset(most, 'x', sizeof(most));
        ck_assert_int_eq(run(script, TEXT("secret"), LONG_USEC, &output, &err), 0);
        ck_assert_uint_eq(output.size, 6);
        ck_assert_mem_eq(output.data, "secret", 6);

        const struct wla_bytes input = {.data = most, .size = sizeof(most)};
        ck_assert_int_eq(run(script, input, LONG_USEC, &output, &err), 0);
        ck_assert_uint_eq(output.size, 6 + sizeof(most));
        ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(one_that_reads_nothing_does_no_harm) {
        _cleanup_buf_ struct buf output = BUF_WITH_LIMIT(100);
        struct wla_error err = {0};
        char script[] = "exec 0<&-; echo done";

        ck_assert_int_eq(run(script, TEXT("secret"), LONG_USEC, &output, &err), 0);
        ck_assert_mem_eq(output.data, "done\n", 5);
}
END_TEST

START_TEST(a_failure_is_told_in_its_own_last_words) {
        _cleanup_buf_ struct buf output = BUF_WITH_LIMIT(100);
        struct wla_error err = {0};
        char said[] = "cat >/dev/null; echo first >&2; printf 'no\\001key\\n' >&2; exit 3";
        char silent[] = "exit 1";
        char killed[] = "kill -9 $$";

        ck_assert_int_eq(run(said, TEXT("secret"), LONG_USEC, &output, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_str_eq(wla_error_text(&err), "/bin/sh: no?key");
        ck_assert_int_eq(run(silent, TEXT("secret"), LONG_USEC, &output, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "/bin/sh: it failed and said nothing");
        ck_assert_int_eq(run(killed, TEXT(""), LONG_USEC, &output, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "/bin/sh: it failed and said nothing");
}
END_TEST

START_TEST(there_are_limits) {
        static uint8_t many[FILTER_INPUT_MAX + 1];
        _cleanup_buf_ struct buf output = BUF_WITH_LIMIT(100);
        struct wla_error err = {0};
        char loud[] = "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done";
        char hangs[] = "exec sleep 1000";
        char stays[] = "exec >&- 2>&-; exec sleep 1000";

        ck_assert_int_eq(run(loud, TEXT(""), LONG_USEC, &output, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "/bin/sh: its output has more than 100 bytes");
        ck_assert_int_eq(run(hangs, TEXT(""), 1000, &output, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert_int_eq(run(stays, TEXT(""), 100 * USEC_PER_MSEC, &output, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "/bin/sh: it does not end");

        const struct wla_bytes input = {.data = many, .size = sizeof(many)};
        ck_assert_int_eq(run(hangs, input, LONG_USEC, &output, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "/bin/sh: a pipe does not take 4097 bytes");
}
END_TEST

START_TEST(no_program) {
        _cleanup_buf_ struct buf output = BUF_WITH_LIMIT(100);
        struct wla_error err = {0};
        char path[] = "/nonexistent/program";
        char *const argv[] = {path, NULL};
        const struct filter_program program = {.argv = argv, .limit_usec = LONG_USEC};

        ck_assert_int_eq(filter_program_run(&program, &output, &err), -1);
        ck_assert_str_eq(wla_error_text(&err),
                         "/nonexistent/program: cannot run /nonexistent/program: "
                         "No such file or directory");
}
END_TEST

START_TEST(the_environment_is_chosen) {
        _cleanup_buf_ struct buf output = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};
        char script[] = "env | sed 's/=.*//' | tr '\n' ' '";

        ck_assert_int_eq(setenv("PATH", "/usr/bin:/bin", 1), 0);
        ck_assert_int_eq(setenv("SYSTEMD_LOG_LEVEL", "err", 1), 0);
        ck_assert_int_eq(setenv("BEARER_TOKEN", "secret", 1), 0);
        ck_assert_int_eq(run(script, TEXT(""), LONG_USEC, &output, &err), 0);
        ck_assert_ptr_nonnull(buf_text(&output, &err));
        ck_assert_ptr_nonnull(strstr((char *)output.data, "PATH "));
        ck_assert_ptr_nonnull(strstr((char *)output.data, "SYSTEMD_LOG_LEVEL "));
        ck_assert_ptr_null(strstr((char *)output.data, "BEARER"));
}
END_TEST

SUITE_MAIN("filter_program", gives_the_input_and_takes_the_output,
           one_that_reads_nothing_does_no_harm, a_failure_is_told_in_its_own_last_words,
           there_are_limits, no_program, the_environment_is_chosen)
