/* SPDX-License-Identifier: Apache-2.0 */

/* round_trip COUNT CORE CORE
 *
 * The floor of what a server on this machine can reach: a kilobyte to a process on the other core and
 * back, over a unix socket and epoll, with nothing done to it. Prints the median in microseconds. */

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_SIZE 1024u

static _Noreturn void die(const char *what) {
        perror(what);
        _exit(1);
}

static void pin(unsigned core) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(core, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                die("round_trip: pinning to a core");
}

static _Noreturn void serve(int fd) {
        struct epoll_event event = {.events = EPOLLIN};
        char message[MESSAGE_SIZE];
        int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

        if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
                die("round_trip: epoll");
        for (;;) {
                if (epoll_wait(epoll_fd, &event, 1, -1) != 1)
                        die("round_trip: waiting");
                ssize_t size = recv(fd, message, sizeof(message), 0);
                if (size <= 0 || send(fd, message, (size_t)size, MSG_NOSIGNAL) != size)
                        _exit(0);
        }
}

static uint64_t now_nsec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b) {
        const uint64_t *x = a;
        const uint64_t *y = b;

        return (*x > *y) - (*x < *y);
}

static double measure(int fd, size_t count) {
        char message[MESSAGE_SIZE] = {0};
        uint64_t *nsec = calloc(count, sizeof(*nsec));

        if (!nsec)
                die("round_trip");
        for (size_t i = 0; i < count; i++) {
                uint64_t start = now_nsec();

                if (send(fd, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message) ||
                    recv(fd, message, sizeof(message), MSG_WAITALL) != sizeof(message))
                        die("round_trip");
                nsec[i] = now_nsec() - start;
        }
        qsort(nsec, count, sizeof(*nsec), compare);
        double median = (double)nsec[count / 2] / 1000.0;
        free(nsec);
        return median;
}

int main(int argc, char **argv) {
        int pair[2];

        if (argc != 4) {
                (void)fputs("usage: round_trip COUNT CORE CORE\n", stderr);
                return 2;
        }
        size_t count = strtoul(argv[1], NULL, 10);
        if (count == 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                die("round_trip");

        pid_t server = fork();
        if (server < 0)
                die("round_trip: fork");
        if (server == 0) {
                (void)close(pair[0]);
                pin((unsigned)strtoul(argv[2], NULL, 10));
                serve(pair[1]);
        }
        (void)close(pair[1]);
        pin((unsigned)strtoul(argv[3], NULL, 10));
        (void)printf("%.2f\n", measure(pair[0], count));
        return 0;
}
