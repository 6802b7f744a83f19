/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/swtpm_tcti.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fail_allocation.h"
#include "suite.h"

static const uint8_t command[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0};

struct peer {
        char directory[32];
        char path[64];
        char tcti[96];
        int listen_fd;
        pid_t pid;
        TSS2_TCTI_CONTEXT *tcti_context;
};

/* No test waits so long, however busy the machine is. */
#define PATIENCE_MSEC 30000

/* About what tpm2-tss has, and a caller with little. */
static const size_t rooms[] = {4096, 64};

/* One who takes a command and sends these bytes, the last one by itself, then holds or closes the connection. */
static void peer_begin(struct peer *peer, const void *answer, size_t size, bool hold,
                       int timeout_msec) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct wla_error err = {0};

        *peer = (struct peer){.directory = "/tmp/wlagent-unit-XXXXXX"};
        ck_assert_ptr_nonnull(mkdtemp(peer->directory));
        (void)snprintf(peer->path, sizeof(peer->path), "%s/sock", peer->directory);
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", peer->path);
        (void)snprintf(peer->tcti, sizeof(peer->tcti), "swtpm:path=%s", peer->path);

        peer->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(peer->listen_fd, (const struct sockaddr *)&address, sizeof(address)),
                         0);
        ck_assert_int_eq(listen(peer->listen_fd, 1), 0);

        peer->pid = fork();
        if (peer->pid == 0) {
                uint8_t received[sizeof(command)];

                for (;;) {
                        int fd = accept(peer->listen_fd, NULL, NULL);

                        (void)!read(fd, received, sizeof(received));
                        if (size > 0) {
                                (void)!send(fd, answer, size - 1, MSG_NOSIGNAL);
                                (void)!send(fd, (const uint8_t *)answer + size - 1, 1,
                                            MSG_NOSIGNAL);
                        }
                        if (!hold)
                                (void)close(fd);
                }
        }
        ck_assert_int_eq(swtpm_tcti_new(peer->tcti, timeout_msec, &peer->tcti_context, &err), 0);
}

static void peer_end(struct peer *peer) {
        peer->tcti_context = swtpm_tcti_free(peer->tcti_context);
        (void)kill(peer->pid, SIGKILL);
        (void)waitpid(peer->pid, NULL, 0);
        (void)close(peer->listen_fd);
        (void)unlink(peer->path);
        (void)rmdir(peer->directory);
}

static TSS2_RC exchange(struct peer *peer, uint8_t *response, size_t *size) {
        TSS2_RC rc = Tss2_Tcti_Transmit(peer->tcti_context, sizeof(command), command);

        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Tcti_Receive(peer->tcti_context, size, response, -1);
        return rc;
}

START_TEST(an_answer_arrives_whole) {
        static const uint8_t answer[] = {0x80, 0x01, 0, 0, 0, 14, 0, 0, 0, 0, 'd', 'a', 't', 'a'};
        struct peer peer;
        uint8_t response[4096];
        size_t size = 0;

        peer_begin(&peer, answer, sizeof(answer), false, PATIENCE_MSEC);
        for (int i = 0; i < 6; i++) {
                /* Once asked for the size first, as tpm2-tss does, once at once. */
                ck_assert_uint_eq(Tss2_Tcti_Transmit(peer.tcti_context, sizeof(command), command),
                                  TSS2_RC_SUCCESS);
                if (i % 3 == 1) {
                        ck_assert_uint_eq(Tss2_Tcti_Receive(peer.tcti_context, &size, NULL, -1),
                                          TSS2_RC_SUCCESS);
                        ck_assert_uint_eq(size, sizeof(answer));
                }
                size = rooms[i / 3];
                ck_assert_uint_eq(Tss2_Tcti_Receive(peer.tcti_context, &size, response, -1),
                                  TSS2_RC_SUCCESS);
                ck_assert_uint_eq(size, sizeof(answer));
                ck_assert_mem_eq(response, answer, sizeof(answer));
        }
        ck_assert_uint_eq(Tss2_Tcti_Receive(peer.tcti_context, &size, response, -1),
                          TSS2_TCTI_RC_BAD_SEQUENCE);
        peer_end(&peer);
}
END_TEST

START_TEST(broken_answers_are_told_apart) {
        static const struct {
                uint8_t answer[14];
                size_t size;
                bool hold;
                TSS2_RC rc;
                int error;
        } cases[] = {
                {{0}, 0, false, TSS2_TCTI_RC_IO_ERROR, ECONNRESET},
                {{0}, 0, true, TSS2_TCTI_RC_IO_ERROR, ETIMEDOUT},
                {{0x80, 1, 0}, 3, false, TSS2_TCTI_RC_IO_ERROR, ECONNRESET},
                {{0x80, 1, 0, 0, 0, 14, 0, 0, 0, 0}, 10, true, TSS2_TCTI_RC_IO_ERROR, ETIMEDOUT},
                {{0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0}, 10, true, TSS2_TCTI_RC_IO_ERROR, EPROTO},
                {{0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
                 10,
                 true,
                 TSS2_TCTI_RC_IO_ERROR,
                 EPROTO},
                {{0x80, 1, 0, 0, 0x10, 1, 0, 0, 0, 0}, 10, true, TSS2_TCTI_RC_IO_ERROR, EPROTO},
                {{0x80, 1, 0, 0, 0, 65, 0, 0, 0, 0}, 10, true, TSS2_TCTI_RC_INSUFFICIENT_BUFFER, 0},
        };

        for (size_t at = 0; at < 2 * sizeof(cases) / sizeof(cases[0]); at++) {
                size_t i = at / 2;
                struct peer peer;
                uint8_t response[4096];
                size_t size = rooms[at % 2];

                if (cases[i].rc == TSS2_TCTI_RC_INSUFFICIENT_BUFFER && size == sizeof(response))
                        continue;
                uint64_t start_usec = clock_now_usec();

                peer_begin(&peer, cases[i].answer, cases[i].size, cases[i].hold,
                           cases[i].error == ETIMEDOUT ? 100 : PATIENCE_MSEC);
                ck_assert_uint_eq(exchange(&peer, response, &size), cases[i].rc);
                ck_assert_int_eq(swtpm_tcti_errno(peer.tcti_context), cases[i].error);
                ck_assert_uint_lt(clock_now_usec() - start_usec, 10 * USEC_PER_SEC);
                peer_end(&peer);
        }
}
END_TEST

START_TEST(strings_are_parsed_strictly) {
        static const struct {
                const char *tcti;
                bool good;
        } cases[] = {
                {"swtpm:", true},
                {"swtpm:path=/run/swtpm.sock", true},
                {"swtpm:host=127.0.0.1,port=2321", true},
                {"swtpm:port=2321", true},
                {"swtpm:path=", false},
                {"swtpm:paths=/x", false},
                {"swtpm:host=a,,port=1", false},
                {"swtpm:port=123456789", false},
                {"swtpm:/run/swtpm.sock", false},
                {"swtpm:path=0123456789012345678901234567890123456789012345678901234567890123456789"
                 "01234567890123456789012345678901234567890",
                 false},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                TSS2_TCTI_CONTEXT *context = NULL;
                struct wla_error err = {0};

                ck_assert(swtpm_tcti_takes(cases[i].tcti));
                int r = swtpm_tcti_new(cases[i].tcti, 100, &context, &err);
                ck_assert_msg((r == 0) == cases[i].good, "%s", cases[i].tcti);
                context = swtpm_tcti_free(context);
        }
        ck_assert(!swtpm_tcti_takes("device:/dev/tpmrm0"));
}
END_TEST

START_TEST(a_failed_allocation_is_an_error) {
        bool clean = true;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                TSS2_TCTI_CONTEXT *context = NULL;
                struct wla_error err = {0};

                int r = swtpm_tcti_new("swtpm:path=/x", 100, &context, &err);
                clean = clean && (r < 0) == fail_allocation_hit();
                context = swtpm_tcti_free(context);
        }
        fail_allocation_disarm();
        ck_assert(clean);
}
END_TEST

SUITE_MAIN("swtpm_tcti", an_answer_arrives_whole, broken_answers_are_told_apart,
           strings_are_parsed_strictly, a_failed_allocation_is_an_error)
