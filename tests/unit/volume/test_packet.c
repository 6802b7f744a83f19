/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/packet.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "suite.h"

struct pair {
        int a;
        int b;
};

static struct pair pair_make(void) {
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        return (struct pair){fds[0], fds[1]};
}

static struct deadline deadline_in(uint64_t usec) {
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + usec);
        return deadline;
}

static unsigned count_fds(void) {
        unsigned count = 0;

        for (int fd = 0; fd < 256; fd++)
                count += fcntl(fd, F_GETFD) >= 0;
        return count;
}

START_TEST(a_packet_arrives_with_its_file) {
        struct wla_error err = {0};
        struct pair pair = pair_make();
        struct stat sent;
        struct stat received;
        char text[8];
        int attached = 99;

        ck_assert_int_eq(packet_send(pair.a, "12345678", 8, -1, NULL, &err), 0);
        ck_assert_int_eq(packet_receive(pair.b, text, sizeof(text), NULL, &attached, &err), 0);
        ck_assert_mem_eq(text, "12345678", 8);
        ck_assert_int_eq(attached, -1);

        ck_assert_int_eq(packet_send(pair.a, "abcdefgh", 8, pair.a, NULL, &err), 0);
        ck_assert_int_eq(packet_receive(pair.b, text, sizeof(text), NULL, &attached, &err), 0);
        ck_assert_int_eq(fstat(pair.a, &sent), 0);
        ck_assert_int_eq(fstat(attached, &received), 0);
        ck_assert_uint_eq(sent.st_ino, received.st_ino);
        ck_assert_int_ne(fcntl(attached, F_GETFD) & FD_CLOEXEC, 0);
        (void)close(attached);
        (void)close(pair.a);
        (void)close(pair.b);
}
END_TEST

START_TEST(other_sizes_are_refused) {
        static const char bytes[9] = {0};
        struct pair pair = pair_make();
        unsigned before = count_fds();
        char text[8];
        int attached = -1;

        for (size_t size = 1; size <= 9; size++) {
                struct wla_error err = {0};

                ck_assert_int_eq(packet_send(pair.a, bytes, size, pair.a, NULL, &err), 0);
                int r = packet_receive(pair.b, text, sizeof(text), NULL, &attached, &err);
                ck_assert_int_eq(r, size == 8 ? 0 : -1);
                if (r == 0)
                        (void)close(attached);
                else
                        ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
        ck_assert_uint_eq(count_fds(), before);
        (void)close(pair.a);
        (void)close(pair.b);
}
END_TEST

static void send_files(int socket, int count) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(16 * sizeof(int))];
        } control = {0};
        char text[8] = {0};
        struct iovec part = {.iov_base = text, .iov_len = sizeof(text)};
        struct msghdr message = {
                .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)),
        };
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);

        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        for (int i = 0; i < count; i++)
                memcpy(CMSG_DATA(header) + (size_t)i * sizeof(int), &socket, sizeof(socket));
        ck_assert_int_eq(sendmsg(socket, &message, 0), 8);
}

START_TEST(several_files_are_refused_and_closed) {
        struct pair pair = pair_make();
        unsigned before = count_fds();
        char text[8];
        int attached = -1;

        for (int count = 2; count <= 16; count++) {
                struct wla_error err = {0};

                send_files(pair.a, count);
                ck_assert_int_eq(packet_receive(pair.b, text, sizeof(text), NULL, &attached, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_int_eq(attached, -1);
                ck_assert_uint_eq(count_fds(), before);
        }
        (void)close(pair.a);
        (void)close(pair.b);
}
END_TEST

START_TEST(the_deadline_is_kept) {
        struct wla_error err = {0};
        struct pair pair = pair_make();
        struct deadline deadline = deadline_in(50 * USEC_PER_MSEC);
        char text[4096] = {0};
        int attached = -1;
        uint64_t before = clock_now_usec();

        ck_assert_int_eq(packet_receive(pair.b, text, 8, &deadline, &attached, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert_uint_ge(clock_now_usec(), before + 50 * USEC_PER_MSEC);

        /* Until the socket is full. */
        deadline = deadline_in(50 * USEC_PER_MSEC);
        int r = 0;
        for (int i = 0; i < 10000 && r == 0; i++)
                r = packet_send(pair.a, text, sizeof(text), -1, &deadline, &err);
        ck_assert_int_eq(r, -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        (void)close(pair.a);
        (void)close(pair.b);
}
END_TEST

static void *cancel_soon(void *deadline) {
        const struct timespec pause = {.tv_nsec = 20000000};

        (void)nanosleep(&pause, NULL);
        deadline_cancel(deadline);
        return NULL;
}

START_TEST(a_cancelled_deadline_ends_the_wait) {
        struct wla_error err = {0};
        struct pair pair = pair_make();
        struct deadline deadline = deadline_in(30 * USEC_PER_SEC);
        uint64_t before = clock_now_usec();
        pthread_t thread;
        char text[8];
        int attached = -1;

        ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, &deadline), 0);
        ck_assert_int_eq(packet_receive(pair.b, text, 8, &deadline, &attached, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert_uint_lt(clock_now_usec(), before + 20 * USEC_PER_SEC);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        (void)close(pair.a);
        (void)close(pair.b);
}
END_TEST

START_TEST(the_last_word_is_heard) {
        struct wla_error err = {0};
        struct pair pair = pair_make();
        char text[8] = {0};
        int attached = -1;

        ck_assert_int_eq(packet_send(pair.b, "unread..", 8, -1, NULL, &err), 0);
        ck_assert_int_eq(packet_send(pair.a, "too many", 8, -1, NULL, &err), 0);
        (void)close(pair.a);
        ck_assert_int_eq(packet_receive(pair.b, text, 8, NULL, &attached, &err), 0);
        ck_assert_mem_eq(text, "too many", 8);
        ck_assert_int_eq(packet_receive(pair.b, text, 8, NULL, &attached, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        (void)close(pair.b);
}
END_TEST

START_TEST(a_peer_that_hangs_up_is_told) {
        struct wla_error err = {0};
        struct pair pair = pair_make();
        char text[8] = {0};
        int attached = -1;

        (void)close(pair.a);
        ck_assert_int_eq(packet_receive(pair.b, text, 8, NULL, &attached, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        ck_assert_int_eq(packet_send(pair.b, text, 8, -1, NULL, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        (void)close(pair.b);

        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(packet_send(null, text, 8, -1, NULL, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_int_eq(packet_receive(null, text, 8, NULL, &attached, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        (void)close(null);
}
END_TEST

SUITE_MAIN("volume/packet", a_packet_arrives_with_its_file, other_sizes_are_refused,
           several_files_are_refused_and_closed, the_deadline_is_kept, the_last_word_is_heard,
           a_cancelled_deadline_ends_the_wait, a_peer_that_hangs_up_is_told)
