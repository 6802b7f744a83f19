/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/secret_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "volume/packet.h"

#define PROGRAM   "wlagent-secret"
#define PATH_SIZE 4096
#define LOCK_FD   3

/* Setting and, when that fails, the answer. */
#define SET_USEC ((SECRET_LIBVIRT_SEC + 2) * USEC_PER_SEC)

static const char hint_install[] = "install wlagent from a build without -Dlibvirt=disabled; only "
                                   "domains whose disks libvirt itself encrypts need it";

static int spawn(const char *path, int input, int lock_fd, struct wla_error *err) {
        char name[] = PROGRAM;
        char locale[] = "LC_ALL=C";
        char *const argv[] = {name, NULL};
        char *const environment[] = {locale, NULL};
        posix_spawn_file_actions_t actions;
        pid_t pid;

        if (posix_spawn_file_actions_init(&actions) != 0)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        /* Neither is the other's number: both are above standard error. */
        int outcome = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
        if (outcome == 0)
                outcome = posix_spawn_file_actions_adddup2(&actions, lock_fd, LOCK_FD);
        if (outcome == 0)
                outcome = posix_spawn(&pid, path, &actions, NULL, argv, environment);
        (void)posix_spawn_file_actions_destroy(&actions);
        if (outcome == ENOENT)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_install, "%s is not installed",
                                     path);
        if (outcome != 0)
                return wla_fail_errno(err, outcome, "cannot run %s", path);
        return 0;
}

/* The session ends before the program does, so nobody waits for it. */
static int start(int lock_fd, int *ret_fd, struct wla_error *err) {
        const char *directory = secure_getenv("WLAGENT_LIBEXEC");
        _cleanup_close_ int own = -1;
        _cleanup_close_ int input = -1;
        char path[PATH_SIZE];
        int ends[2];

        (void)snprintf(path, sizeof(path), "%s/" PROGRAM,
                       directory ? directory : LIBEXEC_DIRECTORY);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return wla_fail_errno(err, errno, "making a socket");
        own = ends[0];
        input = ends[1];
        if (spawn(path, input, lock_fd, err) < 0)
                return -1;
        *ret_fd = TAKE_FD(own);
        return 0;
}

static int send_order(int fd, const struct uuid *secret, bool set, const struct deadline *deadline,
                      struct wla_error *err) {
        struct secret_order order = {.magic = SECRET_ORDER_MAGIC, .set = set};

        memcpy(order.secret, secret->text, sizeof(order.secret));
        return packet_send(fd, &order, sizeof(order), -1, deadline, err);
}

static int send_key(int fd, const struct wla_secret *key, const struct deadline *deadline,
                    struct wla_error *err) {
        const struct wla_bytes bytes = wla_secret_view(key);
        _cleanup_secret_ struct wla_secret *packet = NULL;

        if (wla_secret_new(sizeof(struct secret_key), &packet, err) < 0)
                return -1;
        struct secret_key *wire = (void *)wla_secret_fill(packet);
        wire->size = (uint16_t)bytes.size;
        memcpy(wire->bytes, bytes.data, bytes.size);
        return packet_send(fd, wire, sizeof(*wire), -1, deadline, err);
}

static int receive_answer(int fd, const struct deadline *deadline, struct wla_error *err) {
        struct secret_answer answer;
        int attached = -1;

        if (packet_receive(fd, &answer, sizeof(answer), deadline, &attached, err) < 0)
                return wla_wrap(err, PROGRAM " has not answered");
        file_closep(&attached);
        if (answer.code >= _WLA_CODE_MAX || !memchr(answer.text, '\0', sizeof(answer.text)))
                return wla_fail(err, WLA_E_INPUT, PROGRAM " breaks the protocol");
        if (answer.code != WLA_OK)
                return wla_fail(err, (enum wla_code)answer.code, "%s", answer.text);
        return 0;
}

int secret_keeper_set(const struct uuid *secret, const struct wla_secret *key, int lock_fd,
                      struct secret_keeper *ret, struct wla_error *err) {
        struct secret_keeper keeper = {.fd = -1, .lock_fd = lock_fd, .secret = *secret};
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + SET_USEC);
        if (start(lock_fd, &keeper.fd, err) < 0 ||
            send_order(keeper.fd, secret, /* set= */ true, &deadline, err) < 0 ||
            send_key(keeper.fd, key, &deadline, err) < 0 ||
            receive_answer(keeper.fd, &deadline, err) < 0) {
                secret_keeper_close(&keeper);
                return -1;
        }
        *ret = keeper;
        return 0;
}

int secret_keeper_clear(const struct uuid *secret, int lock_fd, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + SET_USEC);
        if (start(lock_fd, &fd, err) < 0 ||
            send_order(fd, secret, /* set= */ false, &deadline, err) < 0)
                return -1;
        return receive_answer(fd, &deadline, err);
}

/* It ends only when we do, or when it could not set the value and has cleared it. */
static bool has_ended(const struct secret_keeper *keeper) {
        struct pollfd program = {.fd = keeper->fd};

        return keeper->fd >= 0 && poll(&program, 1, 0) == 1 && (program.revents & POLLHUP) != 0;
}

void secret_keeper_close(struct secret_keeper *keeper) {
        struct wla_error err = {0};

        if (has_ended(keeper) && secret_keeper_clear(&keeper->secret, keeper->lock_fd, &err) < 0)
                log_line(LOG_ERR, "libvirt's secret %s may still have its value: %s",
                         keeper->secret.text, wla_error_text(&err));
        file_closep(&keeper->fd);
        *keeper = SECRET_KEEPER_NONE;
}
