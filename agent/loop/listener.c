/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/listener.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "loop/rate_limit.h"

/* How long the listener rests after a failure that another accept() would only repeat. */
#define REST_USEC (200 * USEC_PER_MSEC)

struct listener {
        struct listener_options options;
        struct unix_socket socket;
        sd_event_source *readable;
        sd_event_source *rest_timer;
        int reserve_fd;
        uid_t own_uid;
        size_t user_count;
        uid_t users[LISTENER_USERS_MAX];
        struct rate_limit refused;
        struct rate_limit failed;
};

static void reserve_descriptor(struct listener *listener) {
        if (listener->reserve_fd < 0)
                listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void rest(struct listener *listener) {
        (void)sd_event_source_set_enabled(listener->readable, SD_EVENT_OFF);
        (void)sd_event_source_set_time(listener->rest_timer, clock_now_usec() + REST_USEC);
        (void)sd_event_source_set_enabled(listener->rest_timer, SD_EVENT_ONESHOT);
}

static int on_rested(sd_event_source *source, uint64_t usec, void *userdata) {
        struct listener *listener = userdata;

        (void)source;
        (void)usec;
        reserve_descriptor(listener);
        (void)sd_event_source_set_enabled(listener->readable, SD_EVENT_ON);
        return 0;
}

static void count_refused(unsigned reason) {
        metrics_count(METRIC_CONNECTIONS_REFUSED, reason, 0);
}

static void log_failure(struct listener *listener, const char *what) {
        if (!rate_limit_allows(&listener->failed, clock_now_usec()))
                return;
        log_event(LOG_ERR, LOG_ID_LIMIT, NULL, "the %s socket turned a connection away: %s%s",
                  listener->options.name, what, listener->failed.note);
}

/* Without this a full descriptor table would leave the connection waiting and the socket readable. */
static void turn_one_away(struct listener *listener) {
        count_refused(METRIC_REFUSED_DESCRIPTORS);
        log_failure(listener, "no file descriptor is left, raise LimitNOFILE=");
        if (listener->reserve_fd < 0) {
                rest(listener);
                return;
        }

        file_closep(&listener->reserve_fd);
        int fd = accept4(listener->socket.fd, NULL, NULL, SOCK_CLOEXEC);
        file_closep(&fd);
        reserve_descriptor(listener);
}

static void accept_failed(struct listener *listener, int errno_value) {
        switch (errno_value) {
        case EAGAIN:
        case EINTR:
        case ECONNABORTED:
                return;
        case EMFILE:
        case ENFILE:
                turn_one_away(listener);
                return;
        default:
                count_refused(METRIC_REFUSED_SYSTEM);
                log_failure(listener, strerrordesc_np(errno_value));
                rest(listener);
        }
}

bool listener_allows(const struct listener *listener, uid_t uid) {
        if (uid == listener->own_uid)
                return true;
        for (size_t i = 0; i < listener->user_count; i++)
                if (listener->users[i] == uid)
                        return true;
        return false;
}

static void log_refused(struct listener *listener, const struct ucred *peer) {
        char uid[16];
        char pid[16];

        if (!rate_limit_allows(&listener->refused, clock_now_usec()))
                return;

        (void)snprintf(uid, sizeof(uid), "%u", peer->uid);
        (void)snprintf(pid, sizeof(pid), "%d", peer->pid);
        const struct log_field fields[] = {
                {"WLA_PEER_UID", uid}, {"WLA_PEER_PID", pid}, {NULL, NULL}};
        log_event(LOG_WARNING, LOG_ID_PEER_REFUSED, fields,
                  "user %s (process %s) may not use the %s socket%s", uid, pid,
                  listener->options.name, listener->refused.note);
}

static void admit(struct listener *listener, int fd) {
        _cleanup_close_ int connection_fd = fd;
        struct wla_error err = {0};
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
                count_refused(METRIC_REFUSED_SYSTEM);
                log_failure(listener, "the kernel does not tell who is there");
                return;
        }
        if (!listener_allows(listener, peer.uid)) {
                count_refused(METRIC_REFUSED_USER);
                log_refused(listener, &peer);
                return;
        }
        if (listener->options.accepted(listener->options.userdata, TAKE_FD(connection_fd), &peer,
                                       &err) < 0) {
                count_refused(METRIC_REFUSED_LIMIT);
                log_failure(listener, wla_error_text(&err));
        }
}

/* One a round: a second accept() would mostly find nothing, and what is left makes the next round. */
static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct listener *listener = userdata;

        (void)source;
        (void)events;
        int connection_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (connection_fd < 0)
                accept_failed(listener, errno);
        else
                admit(listener, connection_fd);
        return 0;
}

static int add_sources(struct listener *listener) {
        sd_event *event = listener->options.event;

        int r = sd_event_add_io(event, &listener->readable, listener->socket.fd, EPOLLIN,
                                on_readable, listener);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &listener->rest_timer, CLOCK_MONOTONIC, 0, 1, on_rested,
                              listener);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(listener->rest_timer, SD_EVENT_OFF);
}

int listener_new(const struct listener_options *options, struct unix_socket *socket,
                 struct listener **ret, struct wla_error *err) {
        struct listener *listener = calloc(1, sizeof(*listener));
        if (!listener) {
                unix_socket_close(socket);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        listener->options = *options;
        listener->socket = *socket;
        *socket = UNIX_SOCKET_NONE;
        listener->own_uid = geteuid();
        listener->reserve_fd = -1;
        reserve_descriptor(listener);

        int r = add_sources(listener);
        if (r < 0) {
                (void)listener_free(listener);
                return wla_fail_errno(err, -r, "watching the %s socket", options->name);
        }

        *ret = listener;
        return 0;
}

struct listener *listener_free(struct listener *listener) {
        if (!listener)
                return NULL;

        (void)sd_event_source_disable_unref(listener->readable);
        (void)sd_event_source_disable_unref(listener->rest_timer);
        unix_socket_close(&listener->socket);
        file_closep(&listener->reserve_fd);
        free(listener);
        return NULL;
}

void listener_allow(struct listener *listener, const uid_t *uids, size_t count) {
        assert(count <= LISTENER_USERS_MAX);

        memcpy(listener->users, uids, count * sizeof(*uids));
        listener->user_count = count;
}
