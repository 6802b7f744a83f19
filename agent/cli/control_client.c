/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control_client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/file.h"

#define ERROR_TEXT_MAX 400u

static const char hint_start[] = "start it with 'systemctl start wlagentd'; 'wlagent doctor' looks "
                                 "for what is in its way";
static const char hint_denied[] = "run this as root, or as the user of wlagentd";
static const char hint_journal[] = "the journal says why: journalctl -u wlagentd";
static const char hint_closed[] =
        "it serves root, its own user and those of AllowUsers=; the journal "
        "says why: journalctl -u wlagentd";
static const char hint_version[] =
        "wlagent and wlagentd are of different versions: restart wlagentd";

static int fail_timeout(const struct control_call *call, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_TIMEOUT, hint_journal,
                             "wlagentd has not answered within %u s on %s",
                             (unsigned)(call->timeout_usec / USEC_PER_SEC), call->socket);
}

static int fail_closed(const struct control_call *call, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_UNAVAILABLE, hint_closed,
                             "wlagentd closed the connection to %s without a whole answer",
                             call->socket);
}

static int fail_connect(const struct control_call *call, int errno_value, struct wla_error *err) {
        if (errno_value == EAGAIN)
                return fail_timeout(call, err);

        (void)wla_fail_errno(err, errno_value, "%s", call->socket);
        if (errno_value == EACCES || errno_value == EPERM) {
                err->code = WLA_E_DENIED;
                err->hint = hint_denied;
                return wla_wrap(err, "asking wlagentd");
        }

        err->code = WLA_E_UNAVAILABLE;
        err->hint = hint_start;
        return wla_wrap(err, "wlagentd is not running");
}

/* The kernel's own timeout counts from each call, so it is set to what is left before each. */
static int limit_time(const struct control_call *call, const struct deadline *deadline, int fd,
                      struct wla_error *err) {
        uint64_t left_usec = deadline_left_usec(deadline);
        struct timeval left = {
                .tv_sec = (time_t)(left_usec / USEC_PER_SEC),
                .tv_usec = (suseconds_t)(left_usec % USEC_PER_SEC),
        };

        if (left_usec == 0)
                return fail_timeout(call, err);

        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &left, sizeof(left)) < 0)
                return wla_fail_errno(err, errno, "limiting the time of the call");
        return 0;
}

static int connect_to(const struct control_call *call, const struct deadline *deadline, int *ret_fd,
                      struct wla_error *err) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _cleanup_close_ int fd = -1;

        size_t length = strlen(call->socket);
        if (length >= sizeof(address.sun_path))
                return wla_fail_hint(err, WLA_E_INPUT, "set ControlSocket= to a shorter path",
                                     "the path %s is too long for a socket", call->socket);
        memcpy(address.sun_path, call->socket, length);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return wla_fail_errno(err, errno, "making a socket");

        if (limit_time(call, deadline, fd, err) < 0)
                return -1;

        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return fail_connect(call, errno, err);

        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* A peer that hangs up early may have answered already, so that is for the reading side to tell. */
static int send_all(const struct control_call *call, const struct deadline *deadline, int fd,
                    const void *data, size_t size, struct wla_error *err) {
        const uint8_t *from = data;

        while (size > 0) {
                if (limit_time(call, deadline, fd, err) < 0)
                        return -1;

                ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);
                if (sent < 0 && errno == EINTR)
                        continue;
                if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
                        return 0;
                if (sent < 0 && errno == EAGAIN)
                        return fail_timeout(call, err);
                if (sent < 0)
                        return wla_fail_errno(err, errno, "asking wlagentd on %s", call->socket);
                from += sent;
                size -= (size_t)sent;
        }
        return 0;
}

static int receive_all(const struct control_call *call, const struct deadline *deadline, int fd,
                       void *data, size_t size, struct wla_error *err) {
        uint8_t *to = data;

        while (size > 0) {
                if (limit_time(call, deadline, fd, err) < 0)
                        return -1;

                ssize_t received = recv(fd, to, size, 0);
                if (received < 0 && errno == EINTR)
                        continue;
                if (received < 0 && errno == EAGAIN)
                        return fail_timeout(call, err);
                if (received == 0 || (received < 0 && errno == ECONNRESET))
                        return fail_closed(call, err);
                if (received < 0)
                        return wla_fail_errno(err, errno, "reading from %s", call->socket);
                to += received;
                size -= (size_t)received;
        }
        return 0;
}

static int check_header(const struct control_call *call, const struct control_header *header,
                        struct wla_error *err) {
        if (header->magic == CONTROL_MAGIC && header->command == call->command &&
            header->code < _WLA_CODE_MAX && header->size <= CONTROL_REPLY_MAX)
                return 0;

        return wla_fail_hint(err, WLA_E_INPUT, hint_version,
                             "what answers on %s does not speak wlagent's control protocol",
                             call->socket);
}

/* The text goes to a terminal: what wlagentd quotes of others must not steer it. */
static int take_error(const struct control_header *header, const struct buf *payload,
                      struct wla_error *err) {
        char text[ERROR_TEXT_MAX + 1] = {0};
        size_t size = payload->size < ERROR_TEXT_MAX ? payload->size : ERROR_TEXT_MAX;

        for (size_t i = 0; i < size; i++) {
                uint8_t byte = payload->data[i];

                text[i] = byte < ' ' || byte == 0x7f ? ' ' : (char)byte;
        }
        return wla_fail(err, (enum wla_code)header->code, "%s", text);
}

/* Connects and asks; what follows the reply's header is left to be received. */
static int ask(const struct control_call *call, struct wla_bytes request,
               const struct deadline *deadline, struct control_header *ret, int *ret_fd,
               struct wla_error *err) {
        const struct control_header header = {
                .magic = CONTROL_MAGIC,
                .command = (uint16_t)call->command,
                .size = (uint32_t)request.size,
        };
        _cleanup_close_ int fd = -1;

        if (connect_to(call, deadline, &fd, err) < 0 ||
            send_all(call, deadline, fd, &header, sizeof(header), err) < 0 ||
            send_all(call, deadline, fd, request.data, request.size, err) < 0 ||
            receive_all(call, deadline, fd, ret, sizeof(*ret), err) < 0 ||
            check_header(call, ret, err) < 0)
                return -1;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Appends it, or fails with it when it is a refusal. */
static int receive_payload(const struct control_call *call, const struct deadline *deadline, int fd,
                           const struct control_header *header, struct buf *reply,
                           struct wla_error *err) {
        _cleanup_buf_ struct buf payload = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);

        uint8_t *to = buf_extend(&payload, header->size, err);
        if (!to || receive_all(call, deadline, fd, to, header->size, err) < 0)
                return -1;

        if (header->code != WLA_OK)
                return take_error(header, &payload, err);

        return buf_append(reply, payload.data, payload.size, err);
}

int control_call(const struct control_call *call, struct buf *reply, struct wla_error *err) {
        struct wla_bytes request = {0};
        struct control_header header;
        struct deadline deadline;
        _cleanup_close_ int fd = -1;

        if (call->request)
                request = (struct wla_bytes){call->request->data, call->request->size};
        deadline_init(&deadline, clock_now_usec() + call->timeout_usec);
        if (ask(call, request, &deadline, &header, &fd, err) < 0)
                return -1;
        return receive_payload(call, &deadline, fd, &header, reply, err);
}

int control_call_secret(const struct control_call *call, const struct wla_secret *request,
                        struct wla_secret *reply, struct wla_error *err) {
        struct buf nothing = {0};
        struct control_header header;
        struct deadline deadline;
        _cleanup_close_ int fd = -1;

        deadline_init(&deadline, clock_now_usec() + call->timeout_usec);
        if (ask(call, wla_secret_view(request), &deadline, &header, &fd, err) < 0)
                return -1;
        if (header.code != WLA_OK)
                return receive_payload(call, &deadline, fd, &header, &nothing, err);
        if (header.size != wla_secret_view(reply).size)
                return wla_fail_hint(err, WLA_E_INPUT, hint_version,
                                     "wlagentd answers with %u bytes, not %zu", header.size,
                                     wla_secret_view(reply).size);
        return receive_all(call, &deadline, fd, wla_secret_fill(reply), header.size, err);
}
