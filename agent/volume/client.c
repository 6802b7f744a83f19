/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/file.h"
#include "volume/packet.h"

static const char hint_start[] =
        "'systemctl start wlagent-volumed.socket' starts it; the journal says why it does not run: "
        "journalctl -u wlagent-volumed";
static const char hint_denied[] = "it serves root and AgentUser=, which is to be wlagentd's user";
static const char hint_version[] = "wlagentd and wlagent-volumed are of different versions: "
                                   "restart both";

struct volume_session {
        int fd;
        uint16_t operation; /* of the last request */
};

struct volume_session *volume_session_free(struct volume_session *session) {
        if (session) {
                file_closep(&session->fd);
                free(session);
        }
        return NULL;
}

int volume_session_fd(const struct volume_session *session) {
        return session->fd;
}

static int fail_connect(const char *socket, int errno_value, struct wla_error *err) {
        if (errno_value == EAGAIN || errno_value == EINPROGRESS)
                return wla_fail(err, WLA_E_TIMEOUT, "wlagent-volumed does not answer on %s",
                                socket);

        (void)wla_fail_errno(err, errno_value, "%s", socket);
        if (errno_value == EACCES || errno_value == EPERM) {
                err->code = WLA_E_DENIED;
                err->hint = hint_denied;
                return wla_wrap(err, "asking wlagent-volumed");
        }
        err->code = WLA_E_UNAVAILABLE;
        err->hint = hint_start;
        return wla_wrap(err, "wlagent-volumed is not running");
}

/* connect(2) waits while the backlog is full. */
static int limit_connect(int fd, const struct deadline *deadline, struct wla_error *err) {
        uint64_t left_usec = deadline_left_usec(deadline);
        struct timeval left = {
                .tv_sec = (time_t)(left_usec / USEC_PER_SEC),
                .tv_usec = (suseconds_t)(left_usec % USEC_PER_SEC),
        };

        if (left_usec == 0)
                return wla_fail(err, WLA_E_TIMEOUT, "the time is over");
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left)) < 0)
                return wla_fail_errno(err, errno, "limiting the time to connect");
        return 0;
}

static int connect_to(const char *path, const struct deadline *deadline, int *ret_fd,
                      struct wla_error *err) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(path);
        _cleanup_close_ int fd = -1;

        if (length >= sizeof(address.sun_path))
                return wla_fail(err, WLA_E_INPUT, "the path %s is too long for a socket", path);
        memcpy(address.sun_path, path, length);

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return wla_fail_errno(err, errno, "making a socket");
        if (limit_connect(fd, deadline, err) < 0)
                return -1;
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return fail_connect(path, errno, err);

        *ret_fd = TAKE_FD(fd);
        return 0;
}

int volume_session_open(const char *socket, const struct deadline *deadline,
                        struct volume_session **ret, struct wla_error *err) {
        struct volume_session *session = calloc(1, sizeof(*session));

        if (!session)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (connect_to(socket, deadline, &session->fd, err) < 0) {
                free(session);
                return -1;
        }

        *ret = session;
        return 0;
}

static int fail_session(struct wla_error *err) {
        if (err->code == WLA_E_TIMEOUT)
                return wla_wrap(err, "wlagent-volumed has not answered");
        if (err->code == WLA_E_UNAVAILABLE)
                err->hint = hint_denied;
        return wla_wrap(err, "asking wlagent-volumed");
}

/* Request and key meet in locked memory only. */
static int send_request(const struct volume_session *session, const struct volume_call *call,
                        const struct deadline *deadline, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        struct wla_bytes key = {0};

        if (call->key)
                key = wla_secret_view(call->key);
        if (key.size > VOLUMED_KEY_MAX)
                return wla_fail(err, WLA_E_INPUT, "the key has %zu bytes, at most %u fit", key.size,
                                VOLUMED_KEY_MAX);
        if (wla_secret_new(sizeof(struct volumed_request), &secret, err) < 0)
                return -1;

        struct volumed_request *wire = (void *)wla_secret_fill(secret);
        memcpy(wire, call->request, sizeof(*wire));
        wire->magic = VOLUMED_MAGIC;
        wire->key_size = (uint16_t)key.size;
        if (key.size > 0)
                memcpy(wire->key, key.data, key.size);
        return packet_send(session->fd, wire, sizeof(*wire), call->header_fd, deadline, err);
}

/* What volumed quotes of others must not steer a terminal. */
static void make_printable(char *text) {
        for (; *text; text++)
                if ((unsigned char)*text < ' ' || *text == 0x7f)
                        *text = ' ';
}

static int check_reply(const struct volume_session *session, struct volumed_reply *reply,
                       struct wla_error *err) {
        struct volume_name name;

        /* A refusal may come before a request was read. */
        bool ours = reply->operation == session->operation ||
                    (reply->operation == 0 && reply->code != WLA_OK);
        if (reply->magic != VOLUMED_MAGIC || !ours || reply->code >= _WLA_CODE_MAX ||
            reply->format > VOLUMED_FORMAT_ISECL || reply->writable > 1 || reply->has_digest > 1 ||
            !memchr(reply->name, '\0', sizeof(reply->name)) ||
            !memchr(reply->text, '\0', sizeof(reply->text)) ||
            (reply->name[0] && volume_name_parse(reply->name, &name, err) < 0))
                return wla_fail_hint(err, WLA_E_INPUT, hint_version,
                                     "wlagent-volumed breaks the protocol");

        make_printable(reply->text);
        if (reply->code != WLA_OK)
                return wla_fail(err, (enum wla_code)reply->code, "%s", reply->text);
        return 0;
}

static int receive_reply(const struct volume_session *session, const struct deadline *deadline,
                         struct volumed_reply *ret, int *ret_attached, struct wla_error *err) {
        _cleanup_close_ int attached = -1;

        if (packet_receive(session->fd, ret, sizeof(*ret), deadline, &attached, err) < 0)
                return fail_session(err);
        if (check_reply(session, ret, err) < 0)
                return -1;

        *ret_attached = TAKE_FD(attached);
        return 0;
}

int volume_session_call(struct volume_session *session, const struct volume_call *call,
                        const struct deadline *deadline, struct volumed_reply *ret,
                        struct wla_error *err) {
        _cleanup_close_ int attached = -1;

        if (call->ret_header)
                *call->ret_header = -1;
        session->operation = call->request->operation;
        /* Who hangs up before he has read the request may have said why. */
        if (send_request(session, call, deadline, err) < 0 && err->code != WLA_E_UNAVAILABLE)
                return fail_session(err);
        if (receive_reply(session, deadline, ret, &attached, err) < 0)
                return -1;

        if (call->ret_header)
                *call->ret_header = TAKE_FD(attached);
        return 0;
}

int volume_session_next(struct volume_session *session, const struct deadline *deadline,
                        struct volumed_reply *ret, struct wla_error *err) {
        _cleanup_close_ int attached = -1;

        return receive_reply(session, deadline, ret, &attached, err);
}
