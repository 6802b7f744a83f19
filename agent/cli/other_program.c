/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/other_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

extern char **environ;

int other_program_find(const char *name, char to[static PATH_MAX], struct wla_error *err) {
        const char *at = getenv("PATH");

        for (at = at ? at : DEFAULT_PATH; *at != '\0';) {
                size_t length = strcspn(at, ":");

                int size = snprintf(to, PATH_MAX, "%.*s/%s", (int)length, at, name);
                if (length > 0 && size > 0 && size < PATH_MAX && access(to, X_OK) == 0)
                        return 0;

                at += length;
                at += *at == ':' ? 1 : 0;
        }
        return wla_fail(err, WLA_E_NOT_FOUND, "%s is not installed", name);
}

static int spawn(char *const argv[], int output, pid_t *ret, struct wla_error *err) {
        posix_spawn_file_actions_t actions;

        if (posix_spawn_file_actions_init(&actions) != 0)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        int outcome = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
                                                       O_RDONLY, 0);
        if (outcome == 0)
                outcome = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null",
                                                           O_WRONLY, 0);
        if (outcome == 0)
                outcome = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
        if (outcome == 0)
                outcome = posix_spawn(ret, argv[0], &actions, NULL, argv, environ);

        (void)posix_spawn_file_actions_destroy(&actions);
        if (outcome != 0)
                return wla_fail_errno(err, outcome, "cannot run %s", argv[0]);
        return 0;
}

/* Up to the first newline or the end; -ETIMEDOUT at the limit of time. */
static int read_line(int fd, uint64_t limit_usec, char *to, size_t size) {
        uint64_t end_usec = clock_now_usec() + limit_usec;
        size_t length = 0;

        while (length < size - 1) {
                struct pollfd ready = {.fd = fd, .events = POLLIN};
                uint64_t now_usec = clock_now_usec();
                char byte;

                if (now_usec >= end_usec ||
                    poll(&ready, 1, (int)((end_usec - now_usec) / USEC_PER_MSEC) + 1) == 0)
                        return -ETIMEDOUT;
                if (read(fd, &byte, 1) != 1 || byte == '\n')
                        break;
                to[length++] = byte < ' ' || byte > '~' ? '?' : byte;
        }

        to[length] = '\0';
        return 0;
}

int other_program_first_line(char *const argv[], uint64_t limit_usec, char *to, size_t size,
                             struct wla_error *err) {
        _cleanup_close_ int input = -1;
        _cleanup_close_ int output = -1;
        int ends[2];
        pid_t child;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return wla_fail_errno(err, errno, "making a pipe");
        input = ends[0];
        output = ends[1];

        if (spawn(argv, output, &child, err) < 0)
                return -1;

        file_closep(&output);
        int outcome = read_line(input, limit_usec, to, size);

        /* What it says after its first line is of no interest. */
        (void)kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
                ;
        if (outcome < 0)
                return wla_fail(err, WLA_E_TIMEOUT, "%s %s does not end", argv[0],
                                argv[1] ? argv[1] : "");
        return 0;
}

int other_program_run(char *const argv[], uint64_t limit_usec, int *ret_code,
                      struct wla_error *err) {
        _cleanup_close_ int output = open("/dev/null", O_WRONLY | O_CLOEXEC);
        pid_t child;
        int status = 0;

        if (output < 0)
                return wla_fail_errno(err, errno, "opening /dev/null");
        if (spawn(argv, output, &child, err) < 0)
                return -1;

        /* A descriptor of it becomes readable when it ends. */
        _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, child, 0);
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        uint64_t end_usec = clock_now_usec() + limit_usec;
        bool timely = fd < 0;

        for (uint64_t now_usec; !timely && (now_usec = clock_now_usec()) < end_usec;)
                timely = poll(&ended, 1, (int)((end_usec - now_usec) / USEC_PER_MSEC) + 1) > 0;
        if (!timely)
                (void)kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
        if (!timely)
                return wla_fail(err, WLA_E_TIMEOUT, "%s %s does not end", argv[0],
                                argv[1] ? argv[1] : "");

        *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return 0;
}
