/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/watchdog.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "suite.h"

#define LIMIT_USEC (50 * USEC_PER_MSEC)
#define LATE_USEC  (60 * USEC_PER_SEC)

/* Of what has to be done before them, on a busy machine too. */
#define LONG_LIMIT_USEC (3 * USEC_PER_SEC)
#define LONG_LATE_USEC  (7 * USEC_PER_SEC / 2)

/* A session that is in a step for ever, or is watched no more when the time of the step ends. */
static pid_t start(int fds[2], enum volumed_operation operation, bool stopped) {
        struct wla_error err = {0};

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
                (void)close(fds[0]);
                if (watchdog_start(fds[1], operation, stopped ? LONG_LIMIT_USEC : LIMIT_USEC,
                                   stopped ? LONG_LATE_USEC : LATE_USEC, &err) < 0)
                        _exit(1);
                if (!stopped)
                        for (;;)
                                (void)pause();
                watchdog_stop();
                (void)usleep(LONG_LATE_USEC + USEC_PER_SEC / 2);
                _exit(0);
        }
        ck_assert_int_gt(pid, 0);
        (void)close(fds[1]);
        return pid;
}

START_TEST(a_step_without_end_is_refused_and_ended) {
        struct volumed_reply reply;
        int status;
        int fds[2];

        pid_t pid = start(fds, VOLUMED_OPEN_LAYER, false);
        ck_assert_int_eq(recv(fds[0], &reply, sizeof(reply), 0), sizeof(reply));
        ck_assert_uint_eq(reply.magic, VOLUMED_MAGIC);
        ck_assert_uint_eq(reply.operation, VOLUMED_OPEN_LAYER);
        ck_assert_uint_eq(reply.code, WLA_E_TIMEOUT);
        ck_assert_ptr_nonnull(strstr(reply.text, "udev has not finished with a device for 0.1 s"));
        ck_assert_ptr_nonnull(strstr(reply.text, "systemctl status systemd-udevd"));
        ck_assert_int_eq(recv(fds[0], &reply, sizeof(reply), 0), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
        (void)close(fds[0]);
}
END_TEST

START_TEST(nobody_has_to_be_there) {
        int status;
        int fds[2];

        pid_t pid = start(fds, VOLUMED_OPEN_LAYER, false);
        (void)close(fds[0]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}
END_TEST

START_TEST(between_steps_there_is_time) {
        struct volumed_reply reply;
        int status;
        int fds[2];

        pid_t pid = start(fds, VOLUMED_OPEN_LAYER, true);
        ck_assert_int_eq(recv(fds[0], &reply, sizeof(reply), 0), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
        (void)close(fds[0]);
}
END_TEST

START_TEST(what_became_of_it_depends_on_what_was_asked) {
        static const struct {
                enum volumed_operation operation;
                const char *text;
        } cases[] = {
                {VOLUMED_INSPECT_IMAGE, "nothing was changed"},
                {VOLUMED_LIST, "nothing was changed"},
                {VOLUMED_OPEN_DIRECT, "what was opened is closed again"},
                {VOLUMED_CREATE_LAYER, "what was opened is closed again"},
                {VOLUMED_CLOSE, "it may have been done nevertheless"},
                {VOLUMED_REMOVE_LAYER, "it may have been done nevertheless"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct volumed_reply reply;
                int status;
                int fds[2];

                pid_t pid = start(fds, cases[i].operation, false);
                ck_assert_int_eq(recv(fds[0], &reply, sizeof(reply), 0), sizeof(reply));
                ck_assert_ptr_nonnull(strstr(reply.text, cases[i].text));
                ck_assert_int_eq(waitpid(pid, &status, 0), pid);
                (void)close(fds[0]);
        }
}
END_TEST

/* Until the other process ends, as the parent of vfork() does: no handler wakes it. */
static void wait_killable(void) {
        if (syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0) == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)sleep(60);
                _exit(0);
        }
}

START_TEST(what_no_handler_interrupts_is_killed) {
        int status;

        pid_t pid = fork();
        if (pid == 0) {
                struct wla_error err = {0};

                if (watchdog_start(-1, VOLUMED_INSPECT_IMAGE, LONG_LIMIT_USEC, LONG_LATE_USEC,
                                   &err) == 0)
                        wait_killable();
                _exit(1);
        }
        ck_assert_int_gt(pid, 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
END_TEST

SUITE_MAIN("volume/watchdog", a_step_without_end_is_refused_and_ended, nobody_has_to_be_there,
           between_steps_there_is_time, what_became_of_it_depends_on_what_was_asked,
           what_no_handler_interrupts_is_killed)
