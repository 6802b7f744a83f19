/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/watchdog.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "suite.h"

#define LIMIT_USEC (50 * USEC_PER_MSEC)

/* A session that is in a step for ever, or only for longer than the step is watched. */
static pid_t start(int fds[2], bool stopped) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
                (void)close(fds[0]);
                watchdog_start(fds[1], VOLUMED_OPEN_LAYER, LIMIT_USEC);
                if (stopped)
                        watchdog_stop();
                while (!stopped)
                        (void)pause();
                (void)usleep(3 * LIMIT_USEC);
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

        pid_t pid = start(fds, false);
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

        pid_t pid = start(fds, false);
        (void)close(fds[0]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}
END_TEST

START_TEST(between_steps_there_is_time) {
        struct volumed_reply reply;
        int status;
        int fds[2];

        pid_t pid = start(fds, true);
        ck_assert_int_eq(recv(fds[0], &reply, sizeof(reply), 0), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
        (void)close(fds[0]);
}
END_TEST

SUITE_MAIN("volume/watchdog", a_step_without_end_is_refused_and_ended, nobody_has_to_be_there,
           between_steps_there_is_time)
