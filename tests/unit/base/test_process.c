/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

START_TEST(leaves_no_core_and_gains_nothing) {
        struct wla_error err = {0};
        struct rlimit limit;

        ck_assert_msg(process_harden(&err) == 0, "%s", wla_error_text(&err));
        ck_assert_int_eq(prctl(PR_GET_DUMPABLE, 0L, 0L, 0L, 0L), 0);
        ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L), 1);
        ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
        ck_assert_uint_eq(limit.rlim_max, 0);
        ck_assert_int_eq(process_harden(&err), 0);
}
END_TEST

/* The tracee tells by its exit status: 0 refused as it should, 1 not, 77 tracing is not possible. */
static _Noreturn void be_traced(void) {
        struct wla_error err = {0};

        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                _exit(77);
        _exit(process_harden(&err) < 0 && strstr(wla_error_text(&err), "is traced by process ") &&
                              err.hint
                      ? 0
                      : 1);
}

START_TEST(a_debugger_is_refused) {
        int status;
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                be_traced();
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        ck_assert(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
}
END_TEST

SUITE_MAIN("base/process", leaves_no_core_and_gains_nothing, a_debugger_is_refused)
