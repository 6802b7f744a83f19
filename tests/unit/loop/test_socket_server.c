/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/socket_server.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/secret.h"
#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

/* Says "hello" and waits. */
struct greeting {
        bool said;
        bool finished;
        int *freed;
};

static int greeting_feed(void *self, const uint8_t *data, size_t size, uint64_t now_usec,
                         struct wla_error *err) {
        (void)self;
        (void)data;
        (void)size;
        (void)now_usec;
        (void)err;
        return 0;
}

static int greeting_drain(void *self, struct buf *out, struct wla_error *err) {
        struct greeting *greeting = self;

        if (greeting->said)
                return 0;
        greeting->said = true;
        return buf_append_text(out, "hello", err);
}

static void greeting_tick(void *self, uint64_t now_usec) {
        (void)self;
        (void)now_usec;
}

static uint64_t greeting_next_usec(const void *self) {
        (void)self;
        return UINT64_MAX;
}

static void greeting_shutdown(void *self) {
        ((struct greeting *)self)->finished = true;
}

static bool greeting_finished(const void *self) {
        return ((const struct greeting *)self)->finished;
}

static void greeting_free(void *self) {
        struct greeting *greeting = self;

        (*greeting->freed)++;
        free(greeting);
}

static const struct connection_protocol greeting_protocol = {
        .feed = greeting_feed,
        .drain = greeting_drain,
        .tick = greeting_tick,
        .next_usec = greeting_next_usec,
        .shutdown = greeting_shutdown,
        .finished = greeting_finished,
        .free = greeting_free,
};

struct fixture {
        struct scratch scratch;
        char path[128];
        sd_event *event;
        struct socket_server *server;
        int served;
        int freed;
        int closed;
        bool refuse;
};

static int serve(void *userdata, struct connection *connection, const struct ucred *peer,
                 void **ret_self, struct wla_error *err) {
        struct fixture *fixture = userdata;
        struct greeting *greeting = calloc(1, sizeof(*greeting));

        ck_assert_ptr_nonnull(connection);
        ck_assert_uint_eq(peer->uid, getuid());
        if (fixture->refuse || !greeting) {
                free(greeting);
                return wla_fail(err, WLA_E_BUSY, "not today");
        }
        fixture->served++;
        greeting->freed = &fixture->freed;
        *ret_self = greeting;
        return 0;
}

static void on_closed(void *userdata) {
        ((struct fixture *)userdata)->closed++;
}

static struct socket_server_options options_of(struct fixture *fixture) {
        return (struct socket_server_options){
                .event = fixture->event,
                .name = "control",
                .path = fixture->path,
                .connections_max = 2,
                .protocol = &greeting_protocol,
                .serve = serve,
                .closed = on_closed,
                .userdata = fixture,
        };
}

static void prepare(struct fixture *fixture) {
        struct wla_error err = {0};

        *fixture = (struct fixture){0};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        scratch_make(&fixture->scratch);
        (void)snprintf(fixture->path, sizeof(fixture->path), "%s/s", fixture->scratch.path);
        ck_assert_int_ge(sd_event_new(&fixture->event), 0);
}

static void start(struct fixture *fixture) {
        struct wla_error err = {0};

        prepare(fixture);
        const struct socket_server_options options = options_of(fixture);
        ck_assert_int_eq(socket_server_new(&options, &fixture->server, &err), 0);
}

static void stop(struct fixture *fixture) {
        ck_assert_ptr_null(socket_server_free(fixture->server));
        (void)sd_event_unref(fixture->event);
        ck_assert_int_eq(access(fixture->path, F_OK), -1);
        scratch_remove(&fixture->scratch);
}

static int client(const struct fixture *fixture) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        memcpy(address.sun_path, fixture->path, strlen(fixture->path));
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
                (void)close(fd);
                return -1;
        }
        return fd;
}

static void run(struct fixture *fixture) {
        while (sd_event_run(fixture->event, 0) > 0)
                ;
}

/* What the server has sent: -1 nothing yet, 0 it has closed. */
static ssize_t received(int fd) {
        char text[16];

        return recv(fd, text, sizeof(text), MSG_DONTWAIT);
}

START_TEST(serves_up_to_its_limit) {
        struct fixture fixture;
        struct stat status;
        int fds[3];

        start(&fixture);
        ck_assert_int_eq(lstat(fixture.path, &status), 0);
        ck_assert_int_eq(status.st_mode & 07777, 0660);
        for (int i = 0; i < 3; i++)
                fds[i] = client(&fixture);
        run(&fixture);
        ck_assert_int_eq(fixture.served, 2);
        ck_assert_uint_eq(socket_server_connections(fixture.server), 2);
        ck_assert_int_eq(received(fds[0]), 5);
        ck_assert_int_eq(received(fds[1]), 5);
        ck_assert_int_eq(received(fds[2]), 0);

        socket_server_limit(fixture.server, 3);
        fds[2] = client(&fixture);
        run(&fixture);
        ck_assert_int_eq(received(fds[2]), 5);
        for (int i = 0; i < 3; i++)
                (void)close(fds[i]);
        run(&fixture);
        ck_assert_int_eq(fixture.freed, 3);
        ck_assert_int_eq(fixture.closed, 3);
        stop(&fixture);
}
END_TEST

START_TEST(goes_on_when_a_protocol_cannot_be_made) {
        struct fixture fixture;

        start(&fixture);
        fixture.refuse = true;
        int fd = client(&fixture);
        run(&fixture);
        ck_assert_int_eq(received(fd), 0);
        ck_assert_uint_eq(socket_server_connections(fixture.server), 0);
        fixture.refuse = false;
        fd = client(&fixture);
        run(&fixture);
        ck_assert_int_eq(received(fd), 5);
        stop(&fixture);
        ck_assert_int_eq(fixture.freed, 1);
}
END_TEST

START_TEST(shutdown_ends_connections_and_takes_no_more) {
        struct fixture fixture;

        start(&fixture);
        int fd = client(&fixture);
        run(&fixture);
        socket_server_shutdown(fixture.server);
        ck_assert_int_eq(fixture.closed, 1);
        ck_assert_int_eq(received(fd), 5);
        ck_assert_int_eq(received(fd), 0);
        ck_assert_int_eq(client(&fixture), -1);
        stop(&fixture);
}
END_TEST

START_TEST(takes_the_socket_of_systemd_first) {
        struct fixture fixture;
        struct wla_error err = {0};
        struct unix_socket handed_over = UNIX_SOCKET_NONE;
        char number[16];

        prepare(&fixture);
        ck_assert_int_eq(unix_socket_listen(fixture.path, SOCK_STREAM, 0600, &handed_over, &err),
                         0);
        ck_assert_int_ne(sd_event_get_fd(fixture.event), 3);
        ck_assert_int_eq(dup2(handed_over.fd, 3), 3);
        (void)snprintf(number, sizeof(number), "%d", (int)getpid());
        (void)setenv("LISTEN_PID", number, 1);
        (void)setenv("LISTEN_FDS", "1", 1);
        (void)setenv("LISTEN_FDNAMES", "control", 1);

        struct socket_server_options options = options_of(&fixture);
        options.path = "/nonexistent/s";
        ck_assert_int_eq(socket_server_new(&options, &fixture.server, &err), 0);
        int fd = client(&fixture);
        run(&fixture);
        ck_assert_int_eq(received(fd), 5);
        (void)socket_server_free(fixture.server);
        ck_assert_int_eq(access(fixture.path, F_OK), 0);

        fixture.server = NULL;
        unix_socket_close(&handed_over);
        stop(&fixture);
}
END_TEST

START_TEST(says_which_socket_cannot_be_served) {
        struct fixture fixture;
        struct wla_error err = {0};
        struct socket_server *second = NULL;

        start(&fixture);
        const struct socket_server_options options = options_of(&fixture);
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "serving the control socket: socket %s: another wlagentd serves it",
                       fixture.path);
        ck_assert_int_eq(socket_server_new(&options, &second, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        ck_assert_str_eq(wla_error_text(&err), text);
        ck_assert_ptr_null(second);
        stop(&fixture);
}
END_TEST

START_TEST(every_allocation_may_fail) {
        struct fixture fixture;
        struct wla_error err = {0};

        prepare(&fixture);
        const struct socket_server_options options = options_of(&fixture);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int r = socket_server_new(&options, &fixture.server, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(r, fail_allocation_hit() ? -1 : 0);
                if (r == 0)
                        fixture.server = socket_server_free(fixture.server);
                ck_assert_int_eq(access(fixture.path, F_OK), -1);
        }
        stop(&fixture);
}
END_TEST

SUITE_MAIN("socket_server", serves_up_to_its_limit, goes_on_when_a_protocol_cannot_be_made,
           shutdown_ends_connections_and_takes_no_more, takes_the_socket_of_systemd_first,
           says_which_socket_cannot_be_served, every_allocation_may_fail)
