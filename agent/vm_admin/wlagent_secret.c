/* SPDX-License-Identifier: Apache-2.0 */

/* wlagent-secret: sets and clears the value of a secret of libvirt; volume/secret_keeper.h is its contract.
 *
 * It runs as root, because libvirt lets root in, and without capabilities.  What talks to libvirt is a
 * process of its own each time, killed when libvirt does not answer; the key is in the memory of that one
 * only. */

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"
#include "vm_admin/connection.h"
#include "vm_admin/libvirt_secret.h"
#include "vm_admin/openssl_first.h"
#include "volume/packet.h"
#include "volume/secret_keeper.h"

/* Behind it are 0, 1 and 2, and the lock. */
#define FIRST_UNKNOWN_FD 4

#define RECEIVE_USEC (5 * USEC_PER_SEC)
#define CLEAR_USEC   (60 * USEC_PER_SEC)
#define PAUSE_SEC    1u

#define PROTOCOL_LOST 2 /* exit code: nobody is there to be answered */

static const char hint_autostart[] =
        "a libvirtd that starts its domains by itself answers nobody meanwhile: use virtqemud and "
        "virtsecretd, or start the domain when libvirtd runs";

static int drop_capabilities(struct wla_error *err) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

        if (syscall(SYS_capset, &header, none) < 0)
                return wla_fail_errno(err, errno, "giving up capabilities");
        return 0;
}

static int receive(void *to, size_t size, struct wla_error *err) {
        struct deadline deadline;
        int attached = -1;

        deadline_init(&deadline, clock_now_usec() + RECEIVE_USEC);
        return packet_receive(STDIN_FILENO, to, size, &deadline, &attached, err);
}

static int receive_order(struct uuid *ret_secret, bool *ret_set, struct wla_error *err) {
        struct secret_order order;

        if (receive(&order, sizeof(order), err) < 0)
                return -1;
        if (order.magic != SECRET_ORDER_MAGIC || order.set > 1 ||
            !memchr(order.secret, '\0', sizeof(order.secret)) ||
            uuid_parse(order.secret, strlen(order.secret), ret_secret, err) < 0)
                return wla_fail(err, WLA_E_INPUT, "that is no order");
        *ret_set = order.set == 1;
        return 0;
}

static int receive_key(struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *packet = NULL;

        if (wla_secret_heap_init(false, err) < 0 ||
            wla_secret_new(sizeof(struct secret_key), &packet, err) < 0)
                return -1;
        struct secret_key *wire = (void *)wla_secret_fill(packet);
        if (receive(wire, sizeof(*wire), err) < 0)
                return -1;
        if (wire->size == 0 || wire->size > sizeof(wire->bytes))
                return wla_fail(err, WLA_E_INPUT, "that is no key");
        if (wla_secret_new(wire->size, ret, err) < 0)
                return -1;
        memcpy(wla_secret_fill(*ret), wire->bytes, wire->size);
        return 0;
}

/* Nobody may be there any more: then nobody needs it. */
static void answer(const struct wla_error *cause) {
        struct secret_answer packet = {.code = cause ? cause->code : WLA_OK};
        struct wla_error ignored = {0};
        struct deadline deadline;

        if (cause)
                wla_error_format(cause, packet.text, sizeof(packet.text));
        deadline_init(&deadline, clock_now_usec() + RECEIVE_USEC);
        if (packet_send(STDIN_FILENO, &packet, sizeof(packet), -1, &deadline, &ignored) < 0)
                log_line(LOG_DEBUG, "nobody heard it: %s", wla_error_text(&ignored));
}

static int set_value(const struct uuid *secret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = NULL;

        if (receive_key(&key, err) < 0)
                return -1;
        return libvirt_secret_set(secret, key, err);
}

static int clear_value(const struct uuid *secret, struct wla_error *err) {
        return libvirt_secret_clear(secret, err);
}

/* In a process that ends, whatever libvirt does, and that knows best why it has failed. */
static int run_apart(int (*work)(const struct uuid *secret, struct wla_error *err),
                     const struct uuid *secret, bool answers, struct wla_error *err) {
        int status = 0;
        pid_t pid = fork();

        if (pid < 0)
                return wla_fail_errno(err, errno, "making a process for libvirt");
        if (pid == 0) {
                (void)alarm(SECRET_LIBVIRT_SEC);
                if (connection_library_init(err) == 0 && work(secret, err) == 0)
                        _exit(EXIT_SUCCESS);
                if (answers)
                        answer(err);
                _exit(EXIT_FAILURE);
        }
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS)
                return 0;
        if (WIFEXITED(status))
                return wla_fail(err, WLA_E_SYSTEM, "libvirt refuses");
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
                (void)wla_fail_hint(err, WLA_E_TIMEOUT, hint_autostart,
                                    "libvirt has not answered about its secret %s in %u s",
                                    secret->text, SECRET_LIBVIRT_SEC);
        else
                (void)wla_fail(err, WLA_E_SYSTEM,
                               "what asked libvirt about its secret %s was killed", secret->text);
        if (answers)
                answer(err);
        return -1;
}

/* An ephemeral secret goes with its daemon, so an end comes either way. */
static int clear_for_sure(const struct uuid *secret) {
        uint64_t until_usec = clock_now_usec() + CLEAR_USEC;

        for (;;) {
                struct wla_error err = {0};

                if (run_apart(clear_value, secret, /* answers= */ false, &err) == 0)
                        return EXIT_SUCCESS;
                if (clock_now_usec() > until_usec) {
                        log_line(LOG_ERR,
                                 "libvirt's secret %s may still have its value: %s (take it away "
                                 "with 'virsh -c secret:///system secret-undefine %s')",
                                 secret->text, wla_error_text(&err), secret->text);
                        return EXIT_FAILURE;
                }
                (void)sleep(PAUSE_SEC);
        }
}

static void ignore(int number) {
        (void)number;
}

/* Until the session has ended, or somebody ends us. */
static void wait_for_end(const sigset_t *waiting) {
        struct pollfd session = {.fd = STDIN_FILENO, .events = POLLIN};

        (void)ppoll(&session, 1, NULL, waiting);
}

static int keep(const struct uuid *secret, const sigset_t *waiting) {
        struct wla_error err = {0};

        if (run_apart(set_value, secret, /* answers= */ true, &err) == 0) {
                answer(NULL);
                wait_for_end(waiting);
        }
        return clear_for_sure(secret);
}

static int clear_once(const struct uuid *secret) {
        struct wla_error err = {0};

        if (run_apart(clear_value, secret, /* answers= */ true, &err) < 0)
                return EXIT_FAILURE;
        answer(NULL);
        return EXIT_SUCCESS;
}

/* A signal ends the wait and nothing else. */
static void hold_signals(sigset_t *ret_waiting) {
        const struct sigaction interrupt = {.sa_handler = ignore};
        sigset_t set;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        (void)sigprocmask(SIG_BLOCK, &set, ret_waiting);
        (void)sigaction(SIGTERM, &interrupt, NULL);
        (void)sigaction(SIGINT, &interrupt, NULL);
}

int main(void) {
        struct wla_error err = {0};
        struct uuid secret;
        sigset_t waiting;
        bool set;

        (void)close_range(FIRST_UNKNOWN_FD, ~0U, 0);
        log_open(LOG_INFO);
        hold_signals(&waiting);
        if (openssl_first(&err) < 0 || process_harden(&err) < 0 || drop_capabilities(&err) < 0 ||
            receive_order(&secret, &set, &err) < 0) {
                answer(&err);
                return PROTOCOL_LOST;
        }
        return set ? keep(&secret, &waiting) : clear_once(&secret);
}
