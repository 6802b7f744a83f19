/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/watchdog.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "base/clock.h"

#define NSEC_PER_USEC 1000u

/* What the other side is told has become of what it asked for. */
enum outcome { NOTHING_BEGUN, UNDONE, UNKNOWN };

static const enum outcome outcomes[_VOLUMED_OPERATION_MAX] = {
        [VOLUMED_OPEN_IMAGE] = UNDONE, [VOLUMED_OPEN_DIRECT] = UNDONE,
        [VOLUMED_OPEN_LAYER] = UNDONE, [VOLUMED_CREATE_LAYER] = UNDONE,
        [VOLUMED_CLOSE] = UNKNOWN,     [VOLUMED_REMOVE_LAYER] = UNKNOWN,
        [VOLUMED_REBASE] = UNKNOWN,    [VOLUMED_REMOVE_CONVERSION] = UNKNOWN,
};

static const struct {
        const char *waited;
        const char *advice;
} texts[] = {
        [NOTHING_BEGUN] = {"a disk, or the server of a file system, has not answered",
                           "'dmesg' may tell which; nothing was changed, try again when that is "
                           "mended"},
        [UNDONE] = {"the kernel or udev has not finished with a device",
                    "'systemctl status systemd-udevd' and 'dmesg' may tell why, or the server of "
                    "the image's file system does not answer; what was opened is closed again, try "
                    "again when that is mended"},
        [UNKNOWN] = {"a device or a file system has not answered",
                     "'dmesg' and 'systemctl status systemd-udevd' may tell why; it may have been "
                     "done nevertheless, try again when that is mended"},
};

/* Made while there is time; the handler may do little more than send it. */
static struct {
        int fd;
        struct volumed_reply reply;
} refusal;

static timer_t kill_timer;

static void refuse_and_die(int number) {
        (void)send(refusal.fd, &refusal.reply, sizeof(refusal.reply), MSG_NOSIGNAL | MSG_DONTWAIT);
        /* Blocked until the handler returns; the handler is gone by then (SA_RESETHAND). */
        (void)raise(number);
}

static void prepare_refusal(int fd, enum volumed_operation operation, uint64_t limit_usec) {
        enum outcome outcome = outcomes[operation];

        refusal.fd = fd;
        refusal.reply = (struct volumed_reply){
                .magic = VOLUMED_MAGIC,
                .operation = (uint16_t)operation,
                .code = WLA_E_TIMEOUT,
        };
        (void)snprintf(refusal.reply.text, sizeof(refusal.reply.text), "%s for %.1f seconds (%s)",
                       texts[outcome].waited, (double)limit_usec / (double)USEC_PER_SEC,
                       texts[outcome].advice);
}

static void set_alarm(uint64_t usec) {
        const struct itimerval timer = {
                .it_value.tv_sec = (time_t)(usec / USEC_PER_SEC),
                .it_value.tv_usec = (suseconds_t)(usec % USEC_PER_SEC),
        };

        (void)setitimer(ITIMER_REAL, &timer, NULL);
}

static int start_kill_timer(uint64_t usec, struct wla_error *err) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
        const struct itimerspec when = {
                .it_value.tv_sec = (time_t)(usec / USEC_PER_SEC),
                .it_value.tv_nsec = (long)(usec % USEC_PER_SEC * NSEC_PER_USEC),
        };

        if (timer_create(CLOCK_MONOTONIC, &event, &kill_timer) < 0)
                return wla_fail_errno(err, errno, "making a timer for a session");
        (void)timer_settime(kill_timer, 0, &when, NULL);
        return 0;
}

int watchdog_start(int fd, enum volumed_operation operation, uint64_t limit_usec,
                   uint64_t kill_usec, struct wla_error *err) {
        const struct sigaction action = {.sa_handler = refuse_and_die, .sa_flags = SA_RESETHAND};

        if (start_kill_timer(kill_usec, err) < 0)
                return -1;
        prepare_refusal(fd, operation, limit_usec);
        (void)sigaction(SIGALRM, &action, NULL);
        set_alarm(limit_usec);
        return 0;
}

void watchdog_stop(void) {
        set_alarm(0);
        (void)timer_delete(kill_timer);
}
