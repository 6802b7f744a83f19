/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/packet.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/file.h"

/* More than one is refused; this many can arrive without being lost uncounted. */
#define ATTACHED_MAX 4u

union control {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(ATTACHED_MAX * sizeof(int))];
};

/* Another thread may cancel the deadline: nobody waits longer than this without a look at it. */
#define LOOK_MSEC 50u

/* Rounded up, so that poll() does not return before the deadline. */
static int poll_timeout(const struct deadline *deadline) {
        if (!deadline)
                return -1;

        uint64_t left_msec = (deadline_left_usec(deadline) + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
        return left_msec > LOOK_MSEC ? (int)LOOK_MSEC : (int)left_msec;
}

static int wait_for(int fd, short events, const struct deadline *deadline, struct wla_error *err) {
        struct pollfd poll_fd = {.fd = fd, .events = events};

        for (;;) {
                int timeout = poll_timeout(deadline);
                int r = poll(&poll_fd, 1, timeout);

                if (r > 0)
                        return 0;
                if (r < 0 && errno != EINTR)
                        return wla_fail_errno(err, errno, "waiting for the socket");
                if (timeout == 0)
                        return wla_fail(err, WLA_E_TIMEOUT, "the time is over");
        }
}

static int fail_transfer(int errno_value, const char *what, struct wla_error *err) {
        if (errno_value == EPIPE || errno_value == ECONNRESET)
                return wla_fail(err, WLA_E_UNAVAILABLE, "the other side has hung up");
        return wla_fail_errno(err, errno_value, "%s", what);
}

int packet_send(int fd, const void *data, size_t size, int attached_fd,
                const struct deadline *deadline, struct wla_error *err) {
        union control control = {0};
        /* sendmsg() does not write through it. */
        struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

        if (attached_fd >= 0) {
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int));
                struct cmsghdr *header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(header), &attached_fd, sizeof(int));
        }

        for (;;) {
                if (wait_for(fd, POLLOUT, deadline, err) < 0)
                        return -1;

                /* A packet is sent whole or not at all. */
                if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                        return 0;
                if (errno != EINTR && errno != EAGAIN)
                        return fail_transfer(errno, "sending a packet", err);
        }
}

/* Closes all but the first; returns how many there were. */
static size_t take_attached(struct msghdr *message, int *ret) {
        size_t count = 0;

        for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
             header = CMSG_NXTHDR(message, header)) {
                if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t at = CMSG_LEN(0); at + sizeof(int) <= header->cmsg_len;
                     at += sizeof(int)) {
                        int fd;

                        memcpy(&fd, (const char *)header + at, sizeof(fd));
                        if (count++ == 0)
                                *ret = fd;
                        else
                                file_closep(&fd);
                }
        }
        return count;
}

static int receive_once(int fd, struct msghdr *message, const struct deadline *deadline,
                        size_t *ret_size, struct wla_error *err) {
        bool reset = false;

        for (;;) {
                if (wait_for(fd, POLLIN, deadline, err) < 0)
                        return -1;

                ssize_t size = recvmsg(fd, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
                if (size >= 0) {
                        *ret_size = (size_t)size;
                        return 0;
                }
                /* A peer that closes without reading what was sent to it may have said something before:
                 * the kernel tells of the one first, then it hands out the other. */
                if (errno == ECONNRESET && !reset) {
                        reset = true;
                        continue;
                }
                if (errno != EINTR && errno != EAGAIN)
                        return fail_transfer(errno, "receiving a packet", err);
        }
}

int packet_receive(int fd, void *data, size_t size, const struct deadline *deadline,
                   int *ret_attached, struct wla_error *err) {
        _cleanup_close_ int attached = -1;
        union control control = {0};
        struct iovec part = {.iov_base = data, .iov_len = size};
        struct msghdr message = {
                .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        size_t received;

        if (receive_once(fd, &message, deadline, &received, err) < 0)
                return -1;

        size_t count = take_attached(&message, &attached);
        if (received == 0 && count == 0)
                return wla_fail(err, WLA_E_UNAVAILABLE, "the other side has hung up");
        if (received != size || message.msg_flags & MSG_TRUNC)
                return wla_fail(err, WLA_E_INPUT, "a packet has another size than %zu bytes", size);
        if (count > 1 || message.msg_flags & MSG_CTRUNC)
                return wla_fail(err, WLA_E_INPUT, "more than one file is attached to a packet");

        *ret_attached = TAKE_FD(attached);
        return 0;
}
