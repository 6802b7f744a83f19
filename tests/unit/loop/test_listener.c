/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

#define STRANGER 65534

/* A listener on a loop of its own, and what it has accepted. */
struct fixture {
        struct scratch scratch;
        char path[128];
        sd_event *event;
        struct listener *listener;
        int accepted;
        int last_fd;
        struct ucred peer;
        bool refuse;
};

static int on_accepted(void *userdata, int fd, const struct ucred *peer, struct wla_error *err) {
        struct fixture *fixture = userdata;

        if (fixture->refuse) {
                (void)close(fd);
                return wla_fail(err, WLA_E_BUSY, "3 connections are open already");
        }
        fixture->accepted++;
        fixture->last_fd = fd;
        fixture->peer = *peer;
        return 0;
}

static void start(struct fixture *fixture) {
        struct wla_error err = {0};
        struct unix_socket made = UNIX_SOCKET_NONE;
        struct listener_options options = {
                .name = "keyprovider", .accepted = on_accepted, .userdata = fixture};

        *fixture = (struct fixture){.last_fd = -1};
        scratch_make(&fixture->scratch);
        ck_assert_int_eq(chmod(fixture->scratch.path, 0755), 0);
        (void)snprintf(fixture->path, sizeof(fixture->path), "%s/s", fixture->scratch.path);
        ck_assert_int_eq(unix_socket_listen(fixture->path, SOCK_STREAM, 0666, &made, &err), 0);
        ck_assert_int_ge(sd_event_new(&fixture->event), 0);
        options.event = fixture->event;
        ck_assert_int_eq(listener_new(&options, &made, &fixture->listener, &err), 0);
        ck_assert_int_eq(made.fd, -1);
}

static void stop(struct fixture *fixture) {
        ck_assert_ptr_null(listener_free(fixture->listener));
        ck_assert_int_eq(access(fixture->path, F_OK), -1);
        (void)sd_event_unref(fixture->event);
        scratch_remove(&fixture->scratch);
}

static int client(const struct fixture *fixture) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        memcpy(address.sun_path, fixture->path, strlen(fixture->path));
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

/* Runs the loop until nothing is left to do. */
static void run(struct fixture *fixture) {
        while (sd_event_run(fixture->event, 0) > 0)
                ;
}

static bool closed_by_listener(int fd) {
        char byte;

        return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

START_TEST(hands_over_connections_with_their_peer) {
        struct fixture fixture;

        start(&fixture);
        int fd = client(&fixture);
        run(&fixture);
        ck_assert_int_eq(fixture.accepted, 1);
        ck_assert_int_eq(fixture.peer.pid, getpid());
        ck_assert_uint_eq(fixture.peer.uid, getuid());
        ck_assert_int_ne(fcntl(fixture.last_fd, F_GETFL) & O_NONBLOCK, 0);
        ck_assert_int_ne(fcntl(fixture.last_fd, F_GETFD) & FD_CLOEXEC, 0);
        (void)close(fixture.last_fd);
        (void)close(fd);
        stop(&fixture);
}
END_TEST

START_TEST(takes_all_that_wait) {
        enum { CLIENTS = 100 };
        struct fixture fixture;
        int fds[CLIENTS];

        start(&fixture);
        for (int i = 0; i < CLIENTS; i++)
                fds[i] = client(&fixture);
        run(&fixture);
        ck_assert_int_eq(fixture.accepted, CLIENTS);
        for (int i = 0; i < CLIENTS; i++)
                (void)close(fds[i]);
        stop(&fixture);
}
END_TEST

/* Connects as another user; its exit status tells whether it was closed without a byte. */
static pid_t connect_as_stranger(const struct fixture *fixture, int ready_fd) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid > 0)
                return pid;

        if (setgroups(0, NULL) < 0 || setresuid(STRANGER, STRANGER, STRANGER) < 0)
                _exit(2);
        int fd = client(fixture);
        char byte = 0;
        if (write(ready_fd, &byte, 1) != 1)
                _exit(2);
        _exit(recv(fd, &byte, 1, 0) == 0 ? 0 : 1);
}

static int stranger_is_refused(struct fixture *fixture) {
        int ready[2];
        char byte;
        int status;

        ck_assert_int_eq(pipe(ready), 0);
        pid_t pid = connect_as_stranger(fixture, ready[1]);
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        run(fixture);
        if (fixture->last_fd >= 0) {
                ck_assert_int_eq(write(fixture->last_fd, "x", 1), 1);
                (void)close(fixture->last_fd);
                fixture->last_fd = -1;
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status) == 0;
}

START_TEST(only_allowed_users_are_let_in) {
        static const uid_t others[] = {4711, 4712};
        static const uid_t stranger[] = {4711, STRANGER};
        struct fixture fixture;

        if (getuid() != 0)
                return; /* needs two users */
        start(&fixture);
        ck_assert(stranger_is_refused(&fixture));
        listener_allow(fixture.listener, others, 2);
        ck_assert(stranger_is_refused(&fixture));
        ck_assert_int_eq(fixture.accepted, 0);
        ck_assert_uint_eq(metrics_total(METRIC_CONNECTIONS_REFUSED), 2);
        listener_allow(fixture.listener, stranger, 2);
        ck_assert(!stranger_is_refused(&fixture));
        ck_assert_int_eq(fixture.accepted, 1);
        ck_assert_uint_eq(fixture.peer.uid, STRANGER);
        listener_allow(fixture.listener, others, 1);
        ck_assert(stranger_is_refused(&fixture));
        stop(&fixture);
}
END_TEST

START_TEST(goes_on_when_a_connection_is_not_wanted) {
        struct fixture fixture;

        start(&fixture);
        fixture.refuse = true;
        int first = client(&fixture);
        run(&fixture);
        ck_assert(closed_by_listener(first));
        fixture.refuse = false;
        int second = client(&fixture);
        run(&fixture);
        ck_assert(!closed_by_listener(second));
        ck_assert_int_eq(fixture.accepted, 1);
        stop(&fixture);
}
END_TEST

/* Leaves no descriptor free; returns the highest it has taken. */
static int take_all_descriptors(void) {
        struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
        int last = -1;

        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        for (int fd = open("/dev/null", O_RDONLY); fd >= 0; fd = open("/dev/null", O_RDONLY))
                last = fd;
        ck_assert_int_eq(errno, EMFILE);
        return last;
}

START_TEST(without_descriptors_what_waits_is_turned_away) {
        struct fixture fixture;

        start(&fixture);
        int clients[3] = {client(&fixture), client(&fixture), client(&fixture)};
        int last = take_all_descriptors();
        run(&fixture);
        ck_assert_int_eq(fixture.accepted, 0);
        for (int i = 0; i < 3; i++)
                ck_assert(closed_by_listener(clients[i]));

        (void)close(last);
        (void)close(clients[0]);
        int late = client(&fixture);
        run(&fixture);
        ck_assert_int_eq(fixture.accepted, 1);
        ck_assert(!closed_by_listener(late));
        stop(&fixture);
}
END_TEST

START_TEST(without_a_reserve_it_rests_and_does_not_spin) {
        struct fixture fixture;
        struct wla_error err = {0};
        struct unix_socket made = UNIX_SOCKET_NONE;
        struct listener_options options = {
                .name = "keyprovider", .accepted = on_accepted, .userdata = &fixture};

        start(&fixture);
        options.event = fixture.event;
        (void)listener_free(fixture.listener);
        ck_assert_int_eq(unix_socket_listen(fixture.path, SOCK_STREAM, 0600, &made, &err), 0);
        int fd = client(&fixture);
        int last = take_all_descriptors();
        ck_assert_int_eq(listener_new(&options, &made, &fixture.listener, &err), 0);

        int rounds = 0;
        while (sd_event_run(fixture.event, 0) > 0)
                rounds++;
        ck_assert_int_le(rounds, 4);
        ck_assert_int_eq(fixture.accepted, 0);
        ck_assert(!closed_by_listener(fd));

        (void)close(last);
        (void)close(last - 1);
        while (fixture.accepted == 0)
                ck_assert_int_gt(sd_event_run(fixture.event, 10 * USEC_PER_SEC), 0);
        stop(&fixture);
}
END_TEST

START_TEST(every_allocation_may_fail) {
        struct fixture fixture;
        struct wla_error err = {0};
        struct listener_options options = {
                .name = "keyprovider", .accepted = on_accepted, .userdata = &fixture};

        start(&fixture);
        options.event = fixture.event;
        const char *path = scratch_file(&fixture.scratch, "t");
        for (size_t n = 1; n < 4; n++) {
                struct unix_socket made = UNIX_SOCKET_NONE;
                struct listener *listener = NULL;

                ck_assert_int_eq(unix_socket_listen(path, SOCK_STREAM, 0600, &made, &err), 0);
                (void)fail_allocation_arm(n);
                int r = listener_new(&options, &made, &listener, &err);
                fail_allocation_disarm();
                ck_assert_int_eq(r, fail_allocation_hit() ? -1 : 0);
                ck_assert_int_eq(made.fd, -1);
                (void)listener_free(listener);
                ck_assert_int_eq(access(path, F_OK), -1);
        }
        stop(&fixture);
}
END_TEST

SUITE_MAIN("listener", hands_over_connections_with_their_peer, takes_all_that_wait,
           only_allowed_users_are_let_in, goes_on_when_a_connection_is_not_wanted,
           without_descriptors_what_waits_is_turned_away,
           without_a_reserve_it_rests_and_does_not_spin, every_allocation_may_fail)
