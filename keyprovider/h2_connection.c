/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/h2_connection.h"

#include "base/wiping_alloc.h"
#include "keyprovider/h2_session.h"

int h2_connection_new(const struct h2_connection_options *options, uint64_t now_usec,
                      struct h2_connection **ret, struct wla_error *err) {
        struct h2_connection *connection = wiping_calloc(1, sizeof(*connection));
        if (!connection)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        connection->handler = options->handler;
        connection->limits = *options->limits;
        connection->peer = options->peer;
        connection->wake = options->wake;
        connection->userdata = options->userdata;
        connection->now_usec = now_usec;
        connection->idle_since_usec = now_usec;
        h2_flood_init(&connection->flood);

        if (h2_session_new(connection, err) < 0) {
                (void)h2_connection_free(connection);
                return -1;
        }

        *ret = connection;
        return 0;
}

struct h2_connection *h2_connection_free(struct h2_connection *connection) {
        if (!connection)
                return NULL;

        connection->inside++;
        while (connection->calls)
                grpc_call_free(connection->calls);
        nghttp2_session_del(connection->session);
        wiping_free(connection);
        return NULL;
}

static int fail_feed(struct h2_connection *connection, int error, struct wla_error *err) {
        uint32_t code = error == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM
                                                     : NGHTTP2_PROTOCOL_ERROR;

        if (error == NGHTTP2_ERR_NOMEM)
                (void)wla_fail(err, WLA_E_BUSY, "out of memory");
        else
                (void)wla_fail(err, WLA_E_INPUT, "%s",
                               connection->fault ? connection->fault : nghttp2_strerror(error));

        h2_session_terminate(connection, code);
        connection->broken = true;
        return wla_wrap(err, "broken HTTP/2");
}

static ssize_t receive(struct h2_connection *connection, const uint8_t *data, size_t size) {
        if (h2_flood_scan(&connection->flood, data, size, connection->now_usec))
                return nghttp2_session_mem_recv(connection->session, data, size);

        connection->fault = "too many frames that carry no request";
        return NGHTTP2_ERR_FLOODED;
}

int h2_connection_feed(struct h2_connection *connection, const uint8_t *data, size_t size,
                       uint64_t now_usec, struct wla_error *err) {
        connection->now_usec = now_usec;

        /* After the decision to close, nghttp2 need not judge any more input. */
        if (size == 0 || connection->broken || connection->close_at_usec != 0)
                return 0;

        connection->inside++;
        ssize_t taken = receive(connection, data, size);
        connection->inside--;

        return taken < 0 ? fail_feed(connection, (int)taken, err) : 0;
}

static int drain_pending(struct h2_connection *connection, struct buf *out, struct wla_error *err) {
        size_t room = out->limit - out->size;
        size_t size = connection->pending_size < room ? connection->pending_size : room;

        if (size == 0)
                return 0;
        if (buf_append(out, connection->pending, size, err) < 0)
                return -1;

        connection->pending += size;
        connection->pending_size -= size;
        return 0;
}

static int drain_session(struct h2_connection *connection, struct buf *out, struct wla_error *err) {
        for (;;) {
                if (drain_pending(connection, out, err) < 0)
                        return -1;
                if (connection->pending_size > 0)
                        return 0;

                ssize_t size = nghttp2_session_mem_send(connection->session, &connection->pending);
                if (size < 0)
                        return wla_fail(err, WLA_E_BUSY, "cannot write HTTP/2: %s",
                                        nghttp2_strerror((int)size));
                if (size == 0)
                        return 0;
                connection->pending_size = (size_t)size;
        }
}

int h2_connection_drain(struct h2_connection *connection, struct buf *out, struct wla_error *err) {
        connection->inside++;
        connection->out = out;
        int outcome = drain_session(connection, out, err);
        connection->out = NULL;
        connection->inside--;

        if (outcome < 0)
                connection->broken = true;
        return outcome;
}

static uint64_t idle_at_usec(const struct h2_connection *connection) {
        if (connection->calls_count > 0 || connection->close_at_usec != 0)
                return UINT64_MAX;
        return connection->idle_since_usec + connection->limits.idle_timeout_usec;
}

static void close_idle(struct h2_connection *connection) {
        if (connection->idle_since_inexact) {
                connection->idle_since_usec = connection->now_usec;
                connection->idle_since_inexact = false;
                return;
        }

        h2_session_terminate(connection, NGHTTP2_NO_ERROR);
}

void h2_connection_tick(struct h2_connection *connection, uint64_t now_usec) {
        struct grpc_call *next;

        connection->now_usec = now_usec;
        connection->inside++;
        for (struct grpc_call *call = connection->calls; call; call = next) {
                next = call->next;
                if (call->deadline_usec <= now_usec)
                        grpc_call_expire(call);
        }

        if (idle_at_usec(connection) <= now_usec)
                close_idle(connection);
        if (connection->close_at_usec != 0 && connection->close_at_usec <= now_usec)
                connection->broken = true;
        connection->inside--;
}

uint64_t h2_connection_next_usec(const struct h2_connection *connection) {
        uint64_t next_usec = idle_at_usec(connection);

        if (connection->close_at_usec != 0)
                next_usec = connection->close_at_usec;
        for (const struct grpc_call *call = connection->calls; call; call = call->next)
                if (call->deadline_usec < next_usec)
                        next_usec = call->deadline_usec;
        return next_usec;
}

void h2_connection_shutdown(struct h2_connection *connection) {
        int32_t last = nghttp2_session_get_last_proc_stream_id(connection->session);

        if (nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR,
                                  NULL, 0) != 0)
                connection->broken = true;
}

bool h2_connection_finished(const struct h2_connection *connection) {
        if (connection->broken)
                return true;

        return connection->pending_size == 0 && !nghttp2_session_want_read(connection->session) &&
               !nghttp2_session_want_write(connection->session);
}

size_t h2_connection_calls(const struct h2_connection *connection) {
        return connection->calls_count;
}
