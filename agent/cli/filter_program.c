/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/filter_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define SAID_MAX        160u
#define ENVIRONMENT_MAX 32u

extern char **environ;

struct filter {
        int input;
        int output;
        int said;
        pid_t pid;
        char last_line[SAID_MAX];
        size_t line_size;
        bool line_ended;
};

#define FILTER ((struct filter){.input = -1, .output = -1, .said = -1, .pid = -1})

static void filter_done(struct filter *filter) {
        file_closep(&filter->input);
        file_closep(&filter->output);
        file_closep(&filter->said);
        if (filter->pid > 0) {
                (void)kill(filter->pid, SIGKILL);
                while (waitpid(filter->pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
}

static int make_pipe(int *ret_read, int *ret_write, struct wla_error *err) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return wla_fail_errno(err, errno, "making a pipe");
        *ret_read = ends[0];
        *ret_write = ends[1];
        return 0;
}

/* It is in the pipe before there is a program that could close its end. */
static int give_input(struct filter *filter, struct wla_bytes input, struct wla_error *err) {
        _cleanup_close_ int write_end = -1;

        if (make_pipe(&filter->input, &write_end, err) < 0)
                return -1;
        if (input.size > FILTER_INPUT_MAX ||
            (input.size > 0 && write(write_end, input.data, input.size) != (ssize_t)input.size))
                return wla_fail(err, WLA_E_SYSTEM, "a pipe does not take %zu bytes", input.size);
        return 0;
}

static void choose_environment(char *to[static ENVIRONMENT_MAX + 1]) {
        size_t count = 0;

        for (char **at = environ; at && *at && count < ENVIRONMENT_MAX; at++)
                if (strncmp(*at, "PATH=", 5) == 0 || strncmp(*at, "SYSTEMD_", 8) == 0)
                        to[count++] = *at;
        to[count] = NULL;
}

static int spawn(struct filter *filter, char *const *argv, int output, int said,
                 struct wla_error *err) {
        char *environment[ENVIRONMENT_MAX + 1];
        posix_spawn_file_actions_t actions;

        choose_environment(environment);
        if (posix_spawn_file_actions_init(&actions) != 0)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        int outcome = posix_spawn_file_actions_adddup2(&actions, filter->input, STDIN_FILENO);
        if (outcome == 0)
                outcome = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
        if (outcome == 0)
                outcome = posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
        if (outcome == 0)
                outcome = posix_spawn(&filter->pid, argv[0], &actions, NULL, argv, environment);

        (void)posix_spawn_file_actions_destroy(&actions);
        if (outcome != 0)
                return wla_fail_errno(err, outcome, "cannot run %s", argv[0]);
        return 0;
}

static int start(struct filter *filter, const struct filter_program *program,
                 struct wla_error *err) {
        _cleanup_close_ int output = -1;
        _cleanup_close_ int said = -1;

        if (give_input(filter, program->input, err) < 0 ||
            make_pipe(&filter->output, &output, err) < 0 ||
            make_pipe(&filter->said, &said, err) < 0 ||
            spawn(filter, program->argv, output, said, err) < 0)
                return -1;
        file_closep(&filter->input);
        return 0;
}

/* Of what it says the last line that is not empty counts: it is the reason where there is one. */
static void take_said(struct filter *filter, const char *text, size_t size) {
        for (size_t i = 0; i < size; i++) {
                if (text[i] == '\n') {
                        filter->line_ended = true;
                        continue;
                }
                if (filter->line_ended)
                        filter->line_size = 0;
                filter->line_ended = false;
                if (filter->line_size < SAID_MAX - 1)
                        filter->last_line[filter->line_size++] = text[i] < ' ' || text[i] > '~'
                                                                         ? '?'
                                                                         : text[i];
        }
}

/* Some of what it writes; fd is closed at its end. */
static int take(struct filter *filter, int *fd, struct buf *output, struct wla_error *err) {
        char chunk[1024];
        ssize_t size = read(*fd, chunk, sizeof(chunk));

        if (size < 0 && errno == EINTR)
                return 0;
        if (size < 0)
                return wla_fail_errno(err, errno, "reading from a program");
        if (size == 0) {
                file_closep(fd);
                return 0;
        }
        if (fd == &filter->said) {
                take_said(filter, chunk, (size_t)size);
                return 0;
        }
        if (output->size + (size_t)size > output->limit)
                return wla_fail(err, WLA_E_INPUT, "its output has more than %zu bytes",
                                output->limit);
        return buf_append(output, chunk, (size_t)size, err);
}

static int take_all(struct filter *filter, uint64_t end_usec, struct buf *output,
                    struct wla_error *err) {
        while (filter->output >= 0 || filter->said >= 0) {
                struct pollfd ready[] = {
                        {.fd = filter->output, .events = POLLIN},
                        {.fd = filter->said, .events = POLLIN},
                };
                uint64_t now_usec = clock_now_usec();

                if (now_usec >= end_usec)
                        return wla_fail(err, WLA_E_TIMEOUT, "it does not end");
                if (poll(ready, 2, (int)((end_usec - now_usec) / USEC_PER_MSEC) + 1) <= 0)
                        continue;
                if ((ready[0].revents && take(filter, &filter->output, output, err) < 0) ||
                    (ready[1].revents && take(filter, &filter->said, output, err) < 0))
                        return -1;
        }
        return 0;
}

/* One that has closed its output and stays has the rest of its time. */
static int wait_for_end(struct filter *filter, uint64_t end_usec, int *ret_status,
                        struct wla_error *err) {
        const struct timespec pause = {.tv_nsec = 1000000};

        for (;;) {
                pid_t ended = waitpid(filter->pid, ret_status, WNOHANG);

                if (ended == filter->pid)
                        break;
                if (ended < 0 && errno != EINTR)
                        return wla_fail_errno(err, errno, "waiting for it");
                if (clock_now_usec() >= end_usec)
                        return wla_fail(err, WLA_E_TIMEOUT, "it does not end");
                (void)nanosleep(&pause, NULL);
        }
        filter->pid = -1;
        return 0;
}

static int judge(struct filter *filter, int status, struct wla_error *err) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;

        filter->last_line[filter->line_size] = '\0';
        return wla_fail(err, WLA_E_SYSTEM, "%s",
                        filter->line_size > 0 ? filter->last_line : "it failed and said nothing");
}

int filter_program_run(const struct filter_program *program, struct buf *output,
                       struct wla_error *err) {
        __attribute__((cleanup(filter_done))) struct filter filter = FILTER;
        uint64_t end_usec = clock_now_usec() + program->limit_usec;
        int status;

        if (start(&filter, program, err) < 0 || take_all(&filter, end_usec, output, err) < 0 ||
            wait_for_end(&filter, end_usec, &status, err) < 0 || judge(&filter, status, err) < 0)
                return wla_wrap(err, "%s", program->argv[0]);
        return 0;
}
