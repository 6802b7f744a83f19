/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/connection.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fail_allocation.h"
#include "loop/connection_state.h"
#include "suite.h"

#define NEVER UINT64_MAX

/* A protocol that a test writes the other half of. */
struct script {
        struct buf fed;
        struct buf output; /* what drain will give */
        bool echo;         /* what is fed becomes output */
        bool finished;
        bool feed_fails;
        bool drain_fails;
        uint64_t next_usec;
        int ticks;
        int shutdowns;
        int drains;
        int freed;
        struct connection *wake_in_feed;
};

/* No assertion of Check: it would allocate. */
static void must_be_locked(const void *bytes) {
        if (!CRYPTO_secure_allocated(bytes))
                abort();
}

static int script_feed(void *self, const uint8_t *data, size_t size, uint64_t now_usec,
                       struct wla_error *err) {
        struct script *script = self;

        ck_assert_uint_gt(now_usec, 0);
        must_be_locked(data);
        ck_assert_int_eq(buf_append(&script->fed, data, size, err), 0);
        if (script->echo)
                ck_assert_int_eq(buf_append(&script->output, data, size, err), 0);
        if (script->wake_in_feed)
                connection_wake(script->wake_in_feed);
        return script->feed_fails ? wla_fail(err, WLA_E_INPUT, "bad bytes") : 0;
}

static int script_drain(void *self, struct buf *out, struct wla_error *err) {
        struct script *script = self;
        size_t size = script->output.size;

        script->drains++;
        must_be_locked(out->data);
        if (size > out->limit - out->size)
                size = out->limit - out->size;
        if (buf_append(out, script->output.data, size, err) < 0)
                return -1;
        buf_consume(&script->output, size);
        return script->drain_fails ? wla_fail(err, WLA_E_SYSTEM, "broken inside") : 0;
}

static void script_tick(void *self, uint64_t now_usec) {
        struct script *script = self;

        ck_assert_uint_ge(now_usec, script->next_usec);
        script->ticks++;
        script->next_usec = NEVER;
        script->finished = true;
}

static uint64_t script_next_usec(const void *self) {
        return ((const struct script *)self)->next_usec;
}

static void script_shutdown(void *self) {
        struct script *script = self;

        script->shutdowns++;
        script->finished = true;
}

static bool script_finished(const void *self) {
        const struct script *script = self;

        return script->finished && script->output.size == 0;
}

static void script_free(void *self) {
        struct script *script = self;

        script->freed++;
        buf_clear(&script->fed);
        buf_clear(&script->output);
}

static const struct connection_protocol script_protocol = {
        .feed = script_feed,
        .drain = script_drain,
        .tick = script_tick,
        .next_usec = script_next_usec,
        .shutdown = script_shutdown,
        .finished = script_finished,
        .free = script_free,
};

struct fixture {
        sd_event *event;
        struct connection_set *set;
        int closed;
};

static struct ucred peer = {.pid = 7, .uid = 0, .gid = 0};

static void on_closed(void *userdata) {
        ((struct fixture *)userdata)->closed++;
}

static void start(struct fixture *fixture) {
        struct wla_error err = {0};

        *fixture = (struct fixture){0};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_ge(sd_event_new(&fixture->event), 0);
        const struct connection_set_options options = {.event = fixture->event,
                                                       .connections_max = 8,
                                                       .closed = on_closed,
                                                       .userdata = fixture};
        ck_assert_int_eq(connection_set_new(&options, &fixture->set, &err), 0);
}

static void stop(struct fixture *fixture) {
        ck_assert_ptr_null(connection_set_free(fixture->set));
        (void)sd_event_unref(fixture->event);
}

static struct script make_script(void) {
        return (struct script){.fed.limit = 1 << 24, .output.limit = 1 << 24, .next_usec = NEVER};
}

/* Gives the script a connection and returns the peer's end. */
static int serve(struct fixture *fixture, struct script *script, const char *already_sent,
                 struct connection **ret) {
        struct wla_error err = {0};
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        if (already_sent)
                ck_assert_int_ge(write(fds[1], already_sent, strlen(already_sent)), 0);
        ck_assert_int_eq(connection_new(fixture->set, fds[0], &peer, ret, &err), 0);
        connection_serve(*ret, &script_protocol, script);
        return fds[1];
}

static void run(struct fixture *fixture) {
        while (sd_event_run(fixture->event, 0) > 0)
                ;
}

static size_t receive(int fd, char *to, size_t size) {
        ssize_t got = recv(fd, to, size, MSG_DONTWAIT);

        return got < 0 ? 0 : (size_t)got;
}

static bool is_closed(int fd) {
        char byte;

        return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

START_TEST(reads_and_answers_without_a_round_of_the_loop) {
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        char text[16] = "";

        start(&fixture);
        script.echo = true;
        int fd = serve(&fixture, &script, "hello", &connection);
        ck_assert_uint_eq(receive(fd, text, sizeof(text)), 5);
        ck_assert_str_eq(text, "hello");

        ck_assert_int_eq(write(fd, "again", 5), 5);
        run(&fixture);
        ck_assert_uint_eq(receive(fd, text, sizeof(text)), 5);
        ck_assert_str_eq(text, "again");
        ck_assert_uint_eq(connection_set_count(fixture.set), 1);
        (void)close(fd);
        run(&fixture);
        stop(&fixture);
}
END_TEST

START_TEST(speaks_first_when_the_protocol_does) {
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        struct wla_error err = {0};
        char text[16] = "";

        start(&fixture);
        ck_assert_int_eq(buf_append_text(&script.output, "settings", &err), 0);
        int fd = serve(&fixture, &script, NULL, &connection);
        ck_assert_uint_eq(receive(fd, text, sizeof(text)), 8);
        (void)close(fd);
        stop(&fixture);
        ck_assert_int_eq(script.freed, 1);
}
END_TEST

START_TEST(ends_with_its_peer) {
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();

        start(&fixture);
        int fd = serve(&fixture, &script, NULL, &connection);
        (void)close(fd);
        run(&fixture);
        ck_assert_int_eq(script.freed, 1);
        ck_assert_int_eq(fixture.closed, 1);
        ck_assert_uint_eq(connection_set_count(fixture.set), 0);
        stop(&fixture);
}
END_TEST

START_TEST(ends_with_its_protocol_once_all_is_sent) {
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        char text[16] = "";

        start(&fixture);
        script.echo = true;
        script.finished = true;
        int fd = serve(&fixture, &script, "bye", &connection);
        ck_assert_int_eq(script.freed, 1);
        ck_assert_uint_eq(receive(fd, text, sizeof(text)), 3);
        ck_assert(is_closed(fd));
        stop(&fixture);
}
END_TEST

START_TEST(a_fault_is_answered_and_then_closed) {
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        char text[16] = "";

        start(&fixture);
        script.echo = true;
        script.feed_fails = true;
        int fd = serve(&fixture, &script, "junk", &connection);
        ck_assert_uint_eq(receive(fd, text, sizeof(text)), 4);
        ck_assert(is_closed(fd));
        ck_assert_int_eq(script.freed, 1);

        struct script broken = make_script();
        broken.drain_fails = true;
        fd = serve(&fixture, &broken, NULL, &connection);
        ck_assert(is_closed(fd));
        ck_assert_int_eq(broken.freed, 1);
        stop(&fixture);
}
END_TEST

START_TEST(what_the_peer_does_not_take_is_kept_and_bounded) {
        enum { SIZE = 4 * 1024 * 1024 };
        static char pattern[SIZE];
        static char got[SIZE];
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        struct wla_error err = {0};
        size_t received = 0;

        for (size_t i = 0; i < SIZE; i++)
                pattern[i] = (char)(i * 31 >> 3);
        start(&fixture);
        ck_assert_int_eq(buf_append(&script.output, pattern, SIZE, &err), 0);
        int fd = serve(&fixture, &script, NULL, &connection);
        run(&fixture);
        ck_assert_uint_gt(script.output.size, 0);
        int drains = script.drains;

        /* While output waits, nothing more is read or drained. */
        ck_assert_int_eq(write(fd, "more", 4), 4);
        run(&fixture);
        ck_assert_uint_eq(script.fed.size, 0);
        ck_assert_int_eq(script.drains, drains);

        while (received < SIZE) {
                size_t n = receive(fd, got + received, SIZE - received);

                ck_assert(n > 0 || sd_event_run(fixture.event, 0) > 0);
                received += n;
                run(&fixture);
        }
        ck_assert_int_eq(memcmp(got, pattern, SIZE), 0);
        run(&fixture);
        ck_assert_uint_eq(script.fed.size, 4);
        (void)close(fd);
        run(&fixture);
        ck_assert_int_eq(script.freed, 1);
        stop(&fixture);
}
END_TEST

START_TEST(a_peer_that_goes_with_output_waiting_is_noticed) {
        enum { SIZE = 4 * 1024 * 1024 };
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        struct wla_error err = {0};

        start(&fixture);
        ck_assert_ptr_nonnull(buf_extend(&script.output, SIZE, &err));
        int fd = serve(&fixture, &script, NULL, &connection);
        ck_assert_uint_gt(script.output.size, 0);
        (void)close(fd);
        run(&fixture);
        ck_assert_int_eq(script.freed, 1);
        stop(&fixture);
}
END_TEST

START_TEST(a_peer_that_takes_nothing_is_given_up) {
        enum { SIZE = 4 * 1024 * 1024 };
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        struct wla_error err = {0};

        start(&fixture);
        ck_assert_ptr_nonnull(buf_extend(&script.output, SIZE, &err));
        int fd = serve(&fixture, &script, NULL, &connection);
        uint64_t due_usec = connection_due_usec(connection);
        ck_assert_uint_le(due_usec, clock_now_usec() + CONNECTION_STALL_USEC);

        script.next_usec = 0;
        connection_tick(connection, due_usec - 1);
        ck_assert_int_eq(script.freed, 0);
        script.next_usec = 0;
        connection_tick(connection, due_usec);
        ck_assert_int_eq(script.freed, 1);
        (void)close(fd);
        stop(&fixture);
}
END_TEST

START_TEST(without_memory_for_what_waits_the_connection_ends) {
        enum { SIZE = 4 * 1024 * 1024 };
        struct fixture fixture;
        struct script script = make_script();
        struct wla_error err = {0};
        struct connection *connection;
        int fds[2];

        start(&fixture);
        ck_assert_ptr_nonnull(buf_extend(&script.output, SIZE, &err));
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        ck_assert_int_eq(connection_new(fixture.set, fds[0], &peer, &connection, &err), 0);
        (void)fail_allocation_arm(1);
        connection_serve(connection, &script_protocol, &script);
        fail_allocation_disarm();
        ck_assert(fail_allocation_hit());
        ck_assert_int_eq(script.freed, 1);
        (void)close(fds[1]);
        stop(&fixture);
}
END_TEST

START_TEST(large_input_arrives_whole) {
        enum { SIZE = 512 * 1024 };
        static char pattern[SIZE];
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        size_t sent = 0;

        for (size_t i = 0; i < SIZE; i++)
                pattern[i] = (char)(i * 13 >> 2);
        start(&fixture);
        int fd = serve(&fixture, &script, NULL, &connection);
        while (sent < SIZE) {
                ssize_t n = write(fd, pattern + sent, SIZE - sent);

                sent += n > 0 ? (size_t)n : 0;
                run(&fixture);
        }
        ck_assert_uint_eq(script.fed.size, SIZE);
        ck_assert_int_eq(memcmp(script.fed.data, pattern, SIZE), 0);
        (void)close(fd);
        stop(&fixture);
}
END_TEST

START_TEST(late_output_is_sent_after_a_wake) {
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        struct wla_error err = {0};
        char text[16] = "";

        start(&fixture);
        int fd = serve(&fixture, &script, "request", &connection);
        ck_assert_int_eq(buf_append_text(&script.output, "reply", &err), 0);
        connection_wake(connection);
        connection_wake(connection);
        ck_assert_uint_eq(receive(fd, text, sizeof(text)), 0);
        run(&fixture);
        ck_assert_uint_eq(receive(fd, text, sizeof(text)), 5);
        ck_assert_str_eq(text, "reply");

        script.finished = true;
        connection_wake(connection);
        run(&fixture);
        ck_assert(is_closed(fd));
        stop(&fixture);
}
END_TEST

START_TEST(a_wake_inside_feed_costs_no_round) {
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        char text[16] = "";

        start(&fixture);
        script.echo = true;
        int fd = serve(&fixture, &script, NULL, &connection);
        script.wake_in_feed = connection;
        ck_assert_int_eq(write(fd, "x", 1), 1);
        ck_assert_int_gt(sd_event_run(fixture.event, 0), 0);
        ck_assert_uint_eq(receive(fd, text, sizeof(text)), 1);
        ck_assert_int_eq(sd_event_run(fixture.event, 0), 0);
        (void)close(fd);
        stop(&fixture);
}
END_TEST

START_TEST(the_protocol_is_ticked_when_its_time_comes) {
        struct fixture fixture;
        struct connection *connections[3];
        struct script scripts[3] = {make_script(), make_script(), make_script()};
        uint64_t begin_usec = clock_now_usec();
        int fds[3];

        start(&fixture);
        scripts[0].next_usec = begin_usec + 60 * USEC_PER_SEC;
        scripts[1].next_usec = begin_usec + 30 * USEC_PER_MSEC;
        for (size_t i = 0; i < 3; i++)
                fds[i] = serve(&fixture, &scripts[i], NULL, &connections[i]);
        while (scripts[1].freed == 0)
                ck_assert_int_gt(sd_event_run(fixture.event, 10 * USEC_PER_SEC), 0);
        ck_assert_uint_le(clock_now_usec() - begin_usec, 30 * USEC_PER_SEC);
        ck_assert_int_eq(scripts[1].ticks, 1);
        ck_assert_int_eq(scripts[0].ticks + scripts[2].ticks, 0);
        ck_assert(is_closed(fds[1]));
        ck_assert_uint_eq(connection_set_count(fixture.set), 2);
        stop(&fixture);
        ck_assert_int_eq(scripts[0].freed + scripts[2].freed, 2);
}
END_TEST

START_TEST(shutdown_lets_protocols_finish) {
        struct fixture fixture;
        struct connection *connections[2];
        struct script scripts[2] = {make_script(), make_script()};

        start(&fixture);
        for (size_t i = 0; i < 2; i++)
                (void)serve(&fixture, &scripts[i], NULL, &connections[i]);
        connection_set_shutdown(fixture.set);
        for (size_t i = 0; i < 2; i++) {
                ck_assert_int_eq(scripts[i].shutdowns, 1);
                ck_assert_int_eq(scripts[i].freed, 1);
        }
        ck_assert_int_eq(fixture.closed, 2);
        stop(&fixture);
}
END_TEST

static bool allows(const void *uid_allowed, uid_t uid) {
        return uid == *(const uid_t *)uid_allowed;
}

START_TEST(a_review_ends_those_who_may_not_stay) {
        const uid_t allowed = 7;
        struct fixture fixture;
        struct connection *connections[3];
        struct script scripts[3] = {make_script(), make_script(), make_script()};

        start(&fixture);
        for (size_t i = 0; i < 3; i++) {
                peer.uid = i == 1 ? allowed : 8;
                (void)serve(&fixture, &scripts[i], NULL, &connections[i]);
        }
        connection_set_review(fixture.set, allows, &allowed);
        for (size_t i = 0; i < 3; i++)
                ck_assert_int_eq(scripts[i].shutdowns, i == 1 ? 0 : 1);
        ck_assert_int_eq(fixture.closed, 2);
        stop(&fixture);
}
END_TEST

START_TEST(a_full_set_refuses_and_closes) {
        struct fixture fixture;
        struct connection *connection;
        struct script script = make_script();
        struct wla_error err = {0};
        int fds[2];

        start(&fixture);
        connection_set_limit(fixture.set, 1);
        int fd = serve(&fixture, &script, NULL, &connection);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        ck_assert_int_eq(connection_new(fixture.set, fds[0], &peer, &connection, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        ck_assert_str_eq(wla_error_text(&err), "1 connections are open already");
        ck_assert(is_closed(fds[1]));

        (void)close(fd);
        run(&fixture);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        ck_assert_int_eq(connection_new(fixture.set, fds[0], &peer, &connection, &err), 0);
        connection_close(connection);
        ck_assert(is_closed(fds[1]));
        stop(&fixture);
}
END_TEST

START_TEST(without_locked_memory_there_are_no_connections) {
        struct connection_set_options options = {0};
        struct wla_secret *taken[64];
        struct connection_set *set;
        struct wla_error err = {0};
        size_t count = 0;

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        while (wla_secret_new(CONNECTION_PIECE, &taken[count], &err) == 0)
                count++;
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(connection_set_new(&options, &set, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_BUSY);
                wla_secret_free(taken[--count]);
        }
}
END_TEST

START_TEST(every_allocation_may_fail) {
        struct fixture fixture;
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_ge(sd_event_new(&fixture.event), 0);
        const struct connection_set_options options = {.event = fixture.event,
                                                       .connections_max = 1};
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct connection *connection;
                struct connection_set *set = NULL;
                int fds[2] = {-1, -1};

                (void)socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
                int r = connection_set_new(&options, &set, &err);
                if (r == 0)
                        r = connection_new(set, fds[0], &peer, &connection, &err);
                else
                        (void)close(fds[0]);
                fail_allocation_disarm();
                ck_assert_int_eq(r, fail_allocation_hit() ? -1 : 0);
                (void)connection_set_free(set);
                (void)close(fds[1]);
        }
        (void)sd_event_unref(fixture.event);
}
END_TEST

SUITE_MAIN("connection", reads_and_answers_without_a_round_of_the_loop,
           speaks_first_when_the_protocol_does, ends_with_its_peer,
           ends_with_its_protocol_once_all_is_sent, a_fault_is_answered_and_then_closed,
           what_the_peer_does_not_take_is_kept_and_bounded,
           a_peer_that_goes_with_output_waiting_is_noticed, a_peer_that_takes_nothing_is_given_up,
           without_memory_for_what_waits_the_connection_ends, large_input_arrives_whole,
           late_output_is_sent_after_a_wake, a_wake_inside_feed_costs_no_round,
           the_protocol_is_ticked_when_its_time_comes, shutdown_lets_protocols_finish,
           a_review_ends_those_who_may_not_stay, a_full_set_refuses_and_closes,
           without_locked_memory_there_are_no_connections, every_allocation_may_fail)
