/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/watchdog.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"

/* Made while there is time; the handler may do little more than send it. */
static struct {
        int fd;
        struct volumed_reply reply;
} refusal;

static void refuse_and_die(int number) {
        (void)send(refusal.fd, &refusal.reply, sizeof(refusal.reply), MSG_NOSIGNAL | MSG_DONTWAIT);
        /* Blocked until the handler returns; the handler is gone by then (SA_RESETHAND). */
        (void)raise(number);
}

static void set_timer(uint64_t usec) {
        const struct itimerval timer = {
                .it_value.tv_sec = (time_t)(usec / USEC_PER_SEC),
                .it_value.tv_usec = (suseconds_t)(usec % USEC_PER_SEC),
        };

        (void)setitimer(ITIMER_REAL, &timer, NULL);
}

void watchdog_start(int fd, enum volumed_operation operation, uint64_t limit_usec) {
        const struct sigaction action = {.sa_handler = refuse_and_die, .sa_flags = SA_RESETHAND};

        refusal.fd = fd;
        refusal.reply = (struct volumed_reply){
                .magic = VOLUMED_MAGIC,
                .operation = (uint16_t)operation,
                .code = WLA_E_TIMEOUT,
        };
        (void)snprintf(refusal.reply.text, sizeof(refusal.reply.text),
                       "the kernel or udev has not finished with a device for %.1f seconds "
                       "('systemctl status systemd-udevd' and 'dmesg' may tell why; what was begun "
                       "is undone, try again when that is mended)",
                       (double)limit_usec / (double)USEC_PER_SEC);
        (void)sigaction(SIGALRM, &action, NULL);
        set_timer(limit_usec);
}

void watchdog_stop(void) {
        set_timer(0);
}
