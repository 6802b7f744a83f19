/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "loop/connection_state.h"

#define TIMER_FLOOR (10 * USEC_PER_MSEC)

#define SHARE_PART 4u /* of the connections: for each user, and kept for root and our own */

static const char hint_connections[] = "raise MaxConnections=";

enum progress {
        PROGRESS_OK = 0,
        PROGRESS_GONE,   /* the peer has closed */
        PROGRESS_BROKEN, /* err tells */
};

static void log_broken(struct connection *connection, const struct wla_error *err) {
        struct rate_limit *limit = &connection->set->broken;

        if (!rate_limit_allows(limit, clock_now_usec()))
                return;
        log_line(LOG_NOTICE, "closed a connection of process %d, user %u: %s%s",
                 connection->peer.pid, connection->peer.uid, wla_error_text(err), limit->note);
}

void connection_close(struct connection *connection) {
        struct connection_set *set = connection->set;

        connection->busy = true;
        if (connection->self)
                connection->protocol->free(connection->self);
        (void)sd_event_source_disable_unref(connection->source);
        file_closep(&connection->fd);
        buf_clear(&connection->unsent);
        LIST_REMOVE(connection, entry);
        set->count--;
        free(connection);

        if (set->options.closed)
                set->options.closed(set->options.userdata);
}

/* How many bytes the socket took, or -1 when the peer has gone. */
static ssize_t send_some(const struct connection *connection, const struct buf *out) {
        ssize_t sent = send(connection->fd, out->data, out->size, MSG_NOSIGNAL);

        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        return sent;
}

static enum progress send_unsent(struct connection *connection, uint64_t now_usec) {
        if (connection->unsent.size == 0)
                return PROGRESS_OK;

        ssize_t sent = send_some(connection, &connection->unsent);
        if (sent < 0)
                return PROGRESS_GONE;
        if (sent == 0)
                return PROGRESS_OK;

        buf_consume(&connection->unsent, (size_t)sent);
        connection->stalled_usec = now_usec + CONNECTION_STALL_USEC;
        if (connection->unsent.size == 0)
                (void)sd_event_source_set_io_events(connection->source, EPOLLIN);
        return PROGRESS_OK;
}

static enum progress keep_unsent(struct connection *connection, size_t sent, uint64_t now_usec,
                                 struct wla_error *err) {
        const struct buf *out = &connection->set->out;

        if (buf_append(&connection->unsent, out->data + sent, out->size - sent, err) < 0)
                return PROGRESS_BROKEN;

        connection->stalled_usec = now_usec + CONNECTION_STALL_USEC;
        (void)sd_event_source_set_io_events(connection->source, EPOLLOUT);
        return PROGRESS_OK;
}

/* Drains and sends one bufferful; *ret_more tells whether there may be another. */
static enum progress send_bufferful(struct connection *connection, uint64_t now_usec,
                                    bool *ret_more, struct wla_error *err) {
        struct buf *out = &connection->set->out;
        enum progress progress = PROGRESS_OK;
        struct wla_error drain_err;

        *ret_more = false;
        bool broken = connection->protocol->drain(connection->self, out, &drain_err) < 0;
        if (out->size > 0) {
                ssize_t sent = send_some(connection, out);

                if (sent < 0)
                        progress = PROGRESS_GONE;
                else if ((size_t)sent < out->size)
                        progress = keep_unsent(connection, (size_t)sent, now_usec, err);
                else
                        *ret_more = true;
        }
        buf_reset(out);

        if (!broken)
                return progress;
        *err = drain_err;
        return PROGRESS_BROKEN;
}

static enum progress send_all(struct connection *connection, uint64_t now_usec,
                              struct wla_error *err) {
        enum progress progress = send_unsent(connection, now_usec);
        bool more = connection->unsent.size == 0;

        while (progress == PROGRESS_OK && more)
                progress = send_bufferful(connection, now_usec, &more, err);
        return progress;
}

/* One read a round: a short one means that nothing more is there, and after a full one the loop comes
 * back. */
static enum progress receive(struct connection *connection, uint64_t now_usec,
                             struct wla_error *err) {
        uint8_t *in = wla_secret_fill(connection->set->in);

        ssize_t size = recv(connection->fd, in, CONNECTION_PIECE, 0);
        if (size < 0)
                return errno == EAGAIN || errno == EINTR ? PROGRESS_OK : PROGRESS_GONE;
        if (size == 0)
                return PROGRESS_GONE;

        int r = connection->protocol->feed(connection->self, in, (size_t)size, now_usec, err);
        explicit_bzero(in, (size_t)size);
        return r < 0 ? PROGRESS_BROKEN : PROGRESS_OK;
}

static enum progress check_stall(const struct connection *connection, uint64_t now_usec,
                                 struct wla_error *err) {
        if (connection->unsent.size == 0 || now_usec < connection->stalled_usec)
                return PROGRESS_OK;

        (void)wla_fail(err, WLA_E_TIMEOUT, "it does not read our answer");
        return PROGRESS_BROKEN;
}

/* A protocol whose time is now, and stays so, must not keep the loop busy. */
static uint64_t later(uint64_t due_usec, uint64_t now_usec) {
        return due_usec > now_usec + TIMER_FLOOR ? due_usec : now_usec + TIMER_FLOOR;
}

/* After anything that can have made output: sends it, then closes the connection or sets its time. */
static void settle(struct connection *connection, enum progress progress, uint64_t now_usec,
                   struct wla_error *err) {
        struct wla_error send_err = {0};

        if (progress != PROGRESS_GONE) {
                enum progress sending = send_all(connection, now_usec, &send_err);

                if (progress == PROGRESS_OK && sending != PROGRESS_OK) {
                        progress = sending;
                        *err = send_err;
                }
        }
        if (progress == PROGRESS_OK)
                progress = check_stall(connection, now_usec, err);
        connection->busy = false;

        if (progress == PROGRESS_BROKEN)
                log_broken(connection, err);
        if (progress != PROGRESS_OK ||
            (connection->unsent.size == 0 && connection->protocol->finished(connection->self)))
                connection_close(connection);
        else
                connection_set_arm(connection->set,
                                   later(connection_due_usec(connection), now_usec));
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct connection *connection = userdata;
        struct wla_error err = {0};
        uint64_t now_usec = clock_now_usec();
        enum progress progress = PROGRESS_OK;

        (void)source;
        (void)fd;
        connection->busy = true;
        /* Both directions are shut: whatever it has asked for, nobody reads the answer. */
        if (events & (EPOLLHUP | EPOLLERR))
                progress = PROGRESS_GONE;
        else if (connection->unsent.size == 0)
                progress = receive(connection, now_usec, &err);
        settle(connection, progress, now_usec, &err);
        return 0;
}

uint64_t connection_due_usec(const struct connection *connection) {
        uint64_t next_usec = connection->protocol->next_usec(connection->self);

        if (connection->unsent.size > 0 && connection->stalled_usec < next_usec)
                return connection->stalled_usec;
        return next_usec;
}

void connection_tick(struct connection *connection, uint64_t now_usec) {
        struct wla_error err = {0};

        connection->busy = true;
        connection->protocol->tick(connection->self, now_usec);
        settle(connection, PROGRESS_OK, now_usec, &err);
}

void connection_flush(struct connection *connection, uint64_t now_usec) {
        struct wla_error err = {0};

        connection->busy = true;
        settle(connection, PROGRESS_OK, now_usec, &err);
}

void connection_shutdown(struct connection *connection, uint64_t now_usec) {
        struct wla_error err = {0};

        connection->busy = true;
        connection->protocol->shutdown(connection->self);
        settle(connection, PROGRESS_OK, now_usec, &err);
}

void connection_wake(void *userdata) {
        struct connection *connection = userdata;

        /* While it is busy, or not served yet, it is drained before the loop goes on. */
        if (connection->busy || !connection->self || connection->woken)
                return;

        connection->woken = true;
        (void)sd_event_source_set_enabled(connection->set->wake, SD_EVENT_ONESHOT);
}

static size_t count_of(const struct connection_set *set, uid_t uid) {
        size_t count = 0;

        for (const struct connection *connection = LIST_FIRST(&set->connections); connection;
             connection = LIST_NEXT(connection, entry))
                count += connection->peer.uid == uid;
        return count;
}

static int check_room(const struct connection_set *set, uid_t uid, struct wla_error *err) {
        size_t part = set->options.connections_max / SHARE_PART;
        bool first = uid == 0 || uid == geteuid();

        if (set->count >= set->options.connections_max - (first ? 0 : part))
                return wla_fail_hint(err, WLA_E_BUSY, hint_connections,
                                     "%zu connections are open already", set->count);
        if (!first && count_of(set, uid) >= (part > 0 ? part : 1))
                return wla_fail_hint(err, WLA_E_BUSY, hint_connections,
                                     "user %u has %zu connections open already", uid,
                                     count_of(set, uid));
        return 0;
}

int connection_new(struct connection_set *set, int fd, const struct ucred *peer,
                   struct connection **ret, struct wla_error *err) {
        _cleanup_close_ int socket_fd = fd;

        if (check_room(set, peer->uid, err) < 0)
                return -1;

        struct connection *connection = calloc(1, sizeof(*connection));
        if (!connection)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        int r = sd_event_add_io(set->options.event, &connection->source, fd, EPOLLIN, on_io,
                                connection);
        if (r < 0) {
                free(connection);
                return wla_fail_errno(err, -r, "watching a connection");
        }

        connection->set = set;
        connection->fd = TAKE_FD(socket_fd);
        connection->peer = *peer;
        connection->unsent.limit = CONNECTION_PIECE;
        LIST_INSERT_HEAD(&set->connections, connection, entry);
        set->count++;
        *ret = connection;
        return 0;
}

void connection_serve(struct connection *connection, const struct connection_protocol *protocol,
                      void *self) {
        struct wla_error err = {0};
        uint64_t now_usec = clock_now_usec();

        connection->protocol = protocol;
        connection->self = self;
        connection->busy = true;
        enum progress progress = receive(connection, now_usec, &err);
        settle(connection, progress, now_usec, &err);
}
