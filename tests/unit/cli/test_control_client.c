/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/control_client.h"

/* A daemon of one answer, in a process of its own. */
struct fake {
        char path[64];
        int listener;
        pid_t child;
};

static void fake_listen(struct fake *fake) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char directory[] = "/tmp/wlagent-test-XXXXXX";

        ck_assert_ptr_nonnull(mkdtemp(directory));
        (void)snprintf(fake->path, sizeof(fake->path), "%s/s", directory);
        memcpy(address.sun_path, fake->path, strlen(fake->path));
        fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(fake->listener, 4), 0);
}

/* Reads the request's header and payload_size bytes, writes answer, and hangs up. */
static void fake_serve(struct fake *fake, size_t payload_size, const void *answer, size_t size) {
        fake_listen(fake);
        fake->child = fork();
        if (fake->child > 0)
                return;

        char request[256];
        int fd = accept(fake->listener, NULL, NULL);
        size_t wanted = sizeof(struct control_header) + payload_size;
        for (size_t got = 0; got < wanted;) {
                ssize_t part = read(fd, request + got, wanted - got);

                if (part <= 0)
                        _exit(1);
                got += (size_t)part;
        }
        _exit(write(fd, answer, size) == (ssize_t)size ? 0 : 1);
}

static void fake_done(struct fake *fake) {
        (void)close(fake->listener);
        if (fake->child > 0)
                (void)waitpid(fake->child, NULL, 0);
        (void)unlink(fake->path);
        *strrchr(fake->path, '/') = '\0';
        (void)rmdir(fake->path);
}

#define _cleanup_fake_ __attribute__((cleanup(fake_done)))

struct answer {
        struct control_header header;
        char text[64];
};

static struct answer make_answer(enum wla_code code, const char *text) {
        struct answer answer = {.header = {.magic = CONTROL_MAGIC,
                                           .command = CONTROL_STATUS,
                                           .code = (uint16_t)code,
                                           .size = (uint32_t)strlen(text)}};

        memcpy(answer.text, text, strlen(text));
        return answer;
}

static int ask(const struct fake *fake, const struct buf *request, struct buf *reply,
               struct wla_error *err) {
        const struct control_call call = {
                .socket = fake->path,
                .command = CONTROL_STATUS,
                .request = request,
                .timeout_usec = 5 * USEC_PER_SEC,
        };

        return control_call(&call, reply, err);
}

static void expect_failure(const struct fake *fake, enum wla_code code, const char *text) {
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(1024);
        struct wla_error err = {0};

        ck_assert_int_eq(ask(fake, NULL, &reply, &err), -1);
        ck_assert_int_eq(err.code, code);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), text));
        ck_assert_uint_eq(reply.size, 0);
}

START_TEST(carries_a_request_and_its_reply) {
        _cleanup_fake_ struct fake fake = {0};
        _cleanup_buf_ struct buf request = BUF_WITH_LIMIT(100);
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(1024);
        const struct answer answer = make_answer(WLA_OK, "{}");
        struct wla_error err = {0};

        ck_assert_int_eq(buf_append_text(&request, "hello", &err), 0);
        fake_serve(&fake, request.size, &answer, sizeof(answer.header) + 2);
        ck_assert_int_eq(ask(&fake, &request, &reply, &err), 0);
        ck_assert_uint_eq(reply.size, 2);
        ck_assert_mem_eq(reply.data, "{}", 2);
}
END_TEST

START_TEST(hands_on_the_daemons_error) {
        _cleanup_fake_ struct fake fake = {0};
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(1024);
        const struct answer answer = make_answer(WLA_E_DENIED, "not \033[31mfor\n you");
        struct wla_error err = {0};

        fake_serve(&fake, 0, &answer, sizeof(answer.header) + answer.header.size);
        ck_assert_int_eq(ask(&fake, NULL, &reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_str_eq(wla_error_text(&err), "not  [31mfor  you");
}
END_TEST

START_TEST(says_that_the_daemon_is_down) {
        _cleanup_fake_ struct fake fake = {0};
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(1024);
        const struct fake none = {.path = "/nonexistent/control.sock"};
        struct wla_error err = {0};

        ck_assert_int_eq(ask(&none, NULL, &reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        ck_assert_str_eq(wla_error_text(&err),
                         "wlagentd is not running: /nonexistent/control.sock: No such file or "
                         "directory");
        ck_assert_str_eq(err.hint, "start it with 'systemctl start wlagentd'; 'wlagent doctor' "
                                   "looks for what is in its way");

        fake_listen(&fake);
        (void)close(fake.listener);
        expect_failure(&fake, WLA_E_UNAVAILABLE, "wlagentd is not running: /tmp/");
}
END_TEST

START_TEST(a_hung_daemon_is_a_timeout) {
        _cleanup_fake_ struct fake fake = {0};
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(1024);
        struct wla_error err = {0};

        fake_listen(&fake);
        const struct control_call call = {
                .socket = fake.path,
                .command = CONTROL_STATUS,
                .timeout_usec = USEC_PER_SEC / 20,
        };
        ck_assert_int_eq(control_call(&call, &reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
}
END_TEST

START_TEST(refuses_what_is_no_reply) {
        struct answer answer = make_answer(WLA_OK, "{}");

        for (int i = 0; i < 4; i++) {
                _cleanup_fake_ struct fake fake = {0};
                struct answer wrong = answer;

                if (i == 0)
                        wrong.header.magic = 0;
                else if (i == 1)
                        wrong.header.command = CONTROL_METRICS;
                else if (i == 2)
                        wrong.header.code = _WLA_CODE_MAX;
                else
                        wrong.header.size = CONTROL_REPLY_MAX + 1;
                fake_serve(&fake, 0, &wrong, sizeof(wrong.header) + 2);
                expect_failure(&fake, WLA_E_INPUT, "does not speak wlagent's control protocol");
        }
}
END_TEST

START_TEST(half_a_reply_is_none) {
        const struct answer answer = make_answer(WLA_OK, "{}");

        for (size_t size = 0; size < sizeof(answer.header) + 2; size += 5) {
                _cleanup_fake_ struct fake fake = {0};

                fake_serve(&fake, 0, &answer, size);
                expect_failure(&fake, WLA_E_UNAVAILABLE, "closed the connection");
        }
}
END_TEST

START_TEST(long_paths_are_refused) {
        _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(1024);
        struct wla_error err = {0};
        char path[200];
        const struct control_call call = {.socket = path, .timeout_usec = USEC_PER_SEC};

        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        ck_assert_int_eq(control_call(&call, &reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_str_eq(err.hint, "set ControlSocket= to a shorter path");
}
END_TEST

START_TEST(allocations_may_fail) {
        const struct answer answer = make_answer(WLA_OK, "{}");
        bool again = true;

        for (size_t n = 1; again; n++) {
                _cleanup_fake_ struct fake fake = {0};
                _cleanup_buf_ struct buf reply = BUF_WITH_LIMIT(1024);
                struct wla_error err = {0};

                fake_serve(&fake, 0, &answer, sizeof(answer.header) + 2);
                again = fail_allocation_arm(n);
                int outcome = ask(&fake, NULL, &reply, &err);
                fail_allocation_disarm();
                ck_assert(outcome < 0 || !fail_allocation_hit());
        }
}
END_TEST

static int ask_secret(const struct answer *answer, size_t size, struct wla_secret *reply,
                      struct wla_error *err) {
        _cleanup_fake_ struct fake fake = {0};
        _cleanup_secret_ struct wla_secret *request = NULL;

        ck_assert_int_eq(wla_secret_new(5, &request, err), 0);
        fake_serve(&fake, 5, answer, size);
        const struct control_call call = {
                .socket = fake.path, .command = CONTROL_STATUS, .timeout_usec = 5 * USEC_PER_SEC};
        return control_call_secret(&call, request, reply, err);
}

START_TEST(carries_secrets) {
        _cleanup_secret_ struct wla_secret *reply = NULL;
        struct answer answer = make_answer(WLA_OK, "a key");
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(5, &reply, &err), 0);
        ck_assert_int_eq(ask_secret(&answer, sizeof(answer.header) + 5, reply, &err), 0);
        ck_assert_mem_eq(wla_secret_view(reply).data, "a key", 5);

        /* Nothing but what was agreed is a reply. */
        for (uint32_t size = 0; size < 10; size++) {
                if (size == 5)
                        continue;
                answer.header.size = size;
                ck_assert_int_eq(ask_secret(&answer, sizeof(answer.header) + size, reply, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
        answer = make_answer(WLA_E_DENIED, "no");
        ck_assert_int_eq(ask_secret(&answer, sizeof(answer.header) + 2, reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_str_eq(wla_error_text(&err), "no");
        answer = make_answer(WLA_OK, "a key");
        ck_assert_int_eq(ask_secret(&answer, sizeof(answer.header) + 3, reply, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
}
END_TEST

SUITE_MAIN("control_client", carries_secrets, carries_a_request_and_its_reply,
           hands_on_the_daemons_error, says_that_the_daemon_is_down, a_hung_daemon_is_a_timeout,
           refuses_what_is_no_reply, half_a_reply_is_none, long_paths_are_refused,
           allocations_may_fail)
