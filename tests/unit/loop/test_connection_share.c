/* SPDX-License-Identifier: Apache-2.0 */

/* How many connections each user may have. */

#include <sys/socket.h>
#include <unistd.h>

#include "base/secret.h"
#include "loop/connection.h"
#include "suite.h"

struct fixture {
        sd_event *event;
        struct connection_set *set;
        struct connection *last; /* that was made */
};

static void start(struct fixture *fixture, size_t connections_max) {
        struct connection_set_options options = {.connections_max = connections_max};
        struct wla_error err = {0};

        *fixture = (struct fixture){0};
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_ge(sd_event_new(&fixture->event), 0);
        options.event = fixture->event;
        ck_assert_int_eq(connection_set_new(&options, &fixture->set, &err), 0);
}

static void stop(struct fixture *fixture) {
        ck_assert_ptr_null(connection_set_free(fixture->set));
        (void)sd_event_unref(fixture->event);
}

static enum wla_code connect_as(struct fixture *fixture, uid_t uid) {
        const struct ucred user = {.pid = 7, .uid = uid, .gid = uid};
        struct wla_error err = {0};
        char byte;
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        int outcome = connection_new(fixture->set, fds[0], &user, &fixture->last, &err);
        if (outcome < 0)
                ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0);
        (void)close(fds[1]);
        return outcome == 0 ? WLA_OK : err.code;
}

START_TEST(nobody_keeps_the_others_out) {
        struct fixture fixture;

        start(&fixture, 8);
        for (uid_t uid = 1000001; uid <= 1000003; uid++) {
                ck_assert_int_eq(connect_as(&fixture, uid), WLA_OK);
                ck_assert_int_eq(connect_as(&fixture, uid), WLA_OK);
                ck_assert_int_eq(connect_as(&fixture, uid), WLA_E_BUSY);
        }
        struct connection *one = fixture.last;
        ck_assert_int_eq(connect_as(&fixture, 1000004), WLA_E_BUSY);
        ck_assert_int_eq(connect_as(&fixture, 0), WLA_OK);
        struct connection *kept = fixture.last;
        ck_assert_int_eq(connect_as(&fixture, geteuid()), WLA_OK);
        ck_assert_int_eq(connect_as(&fixture, 0), WLA_E_BUSY);

        connection_close(one);
        connection_close(kept);
        connection_close(fixture.last);
        ck_assert_int_eq(connect_as(&fixture, 1000004), WLA_OK);
        stop(&fixture);
}
END_TEST

START_TEST(root_may_have_all) {
        struct fixture fixture;

        start(&fixture, 8);
        for (unsigned i = 0; i < 8; i++)
                ck_assert_int_eq(connect_as(&fixture, i % 2 ? 0 : geteuid()), WLA_OK);
        ck_assert_int_eq(connect_as(&fixture, 0), WLA_E_BUSY);
        ck_assert_int_eq(connect_as(&fixture, 1000001), WLA_E_BUSY);
        stop(&fixture);
}
END_TEST

START_TEST(of_very_few_there_is_one_for_each) {
        struct fixture fixture;

        start(&fixture, 3);
        ck_assert_int_eq(connect_as(&fixture, 1000001), WLA_OK);
        ck_assert_int_eq(connect_as(&fixture, 1000001), WLA_E_BUSY);
        ck_assert_int_eq(connect_as(&fixture, 1000002), WLA_OK);
        ck_assert_int_eq(connect_as(&fixture, 1000003), WLA_OK);
        stop(&fixture);
}
END_TEST

SUITE_MAIN("connection share", nobody_keeps_the_others_out, root_may_have_all,
           of_very_few_there_is_one_for_each)
