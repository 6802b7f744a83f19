/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/rehearsal.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"
#include "fail_allocation.h"
#include "suite.h"
#include "volume/child.h"

#define PATH_SIZE 64u

/* How many descriptors of that process are links to this path. */
static int count_of(pid_t pid, const char *path) {
        int count = 0;

        for (int fd = 0; fd < 256; fd++) {
                char link[PATH_SIZE];
                char target[256];

                (void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, fd);
                ssize_t length = readlink(link, target, sizeof(target) - 1);
                if (length < 0)
                        continue;
                target[length] = '\0';
                count += strncmp(target, path, strlen(path)) == 0;
        }
        return count;
}

static void set_up(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_pages_init(true, &err), 0);
}

START_TEST(nothing_is_left_but_random_numbers) {
        struct wla_error err = {0};
        int before = count_of(getpid(), "");

        set_up();
        ck_assert_msg(rehearse_opening(&err) == 0, "%s", wla_error_text(&err));
        int random = count_of(getpid(), "/dev/random") + count_of(getpid(), "/dev/urandom");
        ck_assert_int_eq(count_of(getpid(), ""), before + random);
        ck_assert_int_eq(count_of(getpid(), "/dev/mapper/control"), 0);
        ck_assert_int_eq(count_of(getpid(), "/memfd:"), 0);
        /* ordinary_key.h wants none. */
        ck_assert_int_eq(CRYPTO_secure_malloc_initialized(), 0);

        ck_assert_msg(rehearse_opening(&err) == 0, "%s", wla_error_text(&err));
        ck_assert_int_eq(count_of(getpid(), ""), before + random);
}
END_TEST

/* libcryptsetup would go on reading from descriptors of these numbers, whatever they were by then. */
START_TEST(sessions_keep_the_random_numbers) {
        static const struct config config = {.agent.allow_unlocked_memory = true};
        struct wla_error err = {0};
        char byte;
        int fds[2];
        int other[2];
        int status = -1;

        set_up();
        ck_assert_int_eq(rehearse_opening(&err), 0);
        int random = count_of(getpid(), "/dev/random") + count_of(getpid(), "/dev/urandom");
        ck_assert_int_gt(random, 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        ck_assert_int_eq(pipe(other), 0);

        pid_t parent = getpid();
        pid_t pid = fork();
        if (pid == 0) {
                const struct child_job job = {.fd = fds[1], .config = &config};

                child_run(&job, parent);
        }
        (void)close(fds[1]);
        /* It has closed what it closes when nobody but us has the other end of the pipe. */
        (void)close(other[1]);
        ck_assert_int_eq(read(other[0], &byte, 1), 0);
        ck_assert_int_eq(count_of(pid, "/dev/random") + count_of(pid, "/dev/urandom"), random);

        (void)close(fds[0]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
        (void)close(other[0]);
}
END_TEST

START_TEST(every_allocation_may_fail) {
        struct wla_error err = {0};

        set_up();
        ck_assert_int_eq(rehearse_opening(&err), 0);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                err = (struct wla_error){0};
                int outcome = rehearse_opening(&err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
        ck_assert_int_eq(count_of(getpid(), "/memfd:"), 0);
}
END_TEST

SUITE_MAIN("volume/rehearsal", nothing_is_left_but_random_numbers, sessions_keep_the_random_numbers,
           every_allocation_may_fail)
