/* SPDX-License-Identifier: Apache-2.0 */
#include "front_doors.h"

#include <stdlib.h>
#include <unistd.h>

#include "keyprovider/h2_connection.h"
#include "loop/socket_server.h"

#define CONTROL_CONNECTIONS_MAX 32u

struct front_doors {
        struct front_doors_options options;
        struct h2_limits h2_limits;
        struct socket_server *keyprovider;
        struct socket_server *control;
};

static void connection_closed(void *userdata) {
        struct front_doors *doors = userdata;

        doors->options.closed(doors->options.userdata);
}

static struct key_peer peer_of(const struct ucred *credentials) {
        return (struct key_peer){
                .uid = credentials->uid,
                .gid = credentials->gid,
                .pid = credentials->pid,
        };
}

static int h2_feed(void *self, const uint8_t *data, size_t size, uint64_t now_usec,
                   struct wla_error *err) {
        return h2_connection_feed(self, data, size, now_usec, err);
}

static int h2_drain(void *self, struct buf *out, struct wla_error *err) {
        return h2_connection_drain(self, out, err);
}

static void h2_tick(void *self, uint64_t now_usec) {
        h2_connection_tick(self, now_usec);
}

static uint64_t h2_next_usec(const void *self) {
        return h2_connection_next_usec(self);
}

static void h2_shutdown(void *self) {
        h2_connection_shutdown(self);
}

static bool h2_finished(const void *self) {
        return h2_connection_finished(self);
}

static void h2_free(void *self) {
        h2_connection_free(self);
}

static const struct connection_protocol h2_protocol = {
        .feed = h2_feed,
        .drain = h2_drain,
        .tick = h2_tick,
        .next_usec = h2_next_usec,
        .shutdown = h2_shutdown,
        .finished = h2_finished,
        .free = h2_free,
};

static int serve_keyprovider(void *userdata, struct connection *connection,
                             const struct ucred *peer, void **ret_self, struct wla_error *err) {
        struct front_doors *doors = userdata;
        const struct h2_connection_options options = {
                .handler = keyprovider_service_handler(doors->options.keyprovider),
                .limits = &doors->h2_limits,
                .peer = peer_of(peer),
                .wake = connection_wake,
                .userdata = connection,
        };
        struct h2_connection *h2;

        if (h2_connection_new(&options, clock_now_usec(), &h2, err) < 0)
                return -1;
        *ret_self = h2;
        return 0;
}

static int control_feed(void *self, const uint8_t *data, size_t size, uint64_t now_usec,
                        struct wla_error *err) {
        (void)now_usec;
        return control_connection_feed(self, data, size, err);
}

static int control_drain(void *self, struct buf *out, struct wla_error *err) {
        return control_connection_drain(self, out, err);
}

static void control_tick(void *self, uint64_t now_usec) {
        control_connection_tick(self, now_usec);
}

static uint64_t control_next_usec(const void *self) {
        return control_connection_next_usec(self);
}

static void control_shutdown(void *self) {
        control_connection_shutdown(self);
}

static bool control_finished(const void *self) {
        return control_connection_finished(self);
}

static void control_free(void *self) {
        control_connection_free(self);
}

static const struct connection_protocol control_protocol = {
        .feed = control_feed,
        .drain = control_drain,
        .tick = control_tick,
        .next_usec = control_next_usec,
        .shutdown = control_shutdown,
        .finished = control_finished,
        .free = control_free,
};

static int serve_control(void *userdata, struct connection *connection, const struct ucred *peer,
                         void **ret_self, struct wla_error *err) {
        struct front_doors *doors = userdata;
        const struct control_connection_options options = {
                .handlers = &doors->options.control,
                .peer = peer_of(peer),
                .may_administer = peer->uid == 0 || peer->uid == geteuid(),
                .timeout_usec = doors->h2_limits.call_timeout_usec,
                .wake = connection_wake,
                .userdata = connection,
        };
        struct control_connection *control;

        if (control_connection_new(&options, clock_now_usec(), &control, err) < 0)
                return -1;
        *ret_self = control;
        return 0;
}

static int open_keyprovider(struct front_doors *doors, const struct config *config,
                            struct wla_error *err) {
        const struct socket_server_options options = {
                .event = doors->options.event,
                .name = "keyprovider",
                .path = config->keyprovider.socket,
                .connections_max = config->keyprovider.max_connections,
                .protocol = &h2_protocol,
                .serve = serve_keyprovider,
                .closed = connection_closed,
                .userdata = doors,
        };

        return socket_server_new(&options, &doors->keyprovider, err);
}

static int open_control(struct front_doors *doors, const struct config *config,
                        struct wla_error *err) {
        const struct socket_server_options options = {
                .event = doors->options.event,
                .name = "control",
                .path = config->agent.control_socket,
                .connections_max = CONTROL_CONNECTIONS_MAX,
                .protocol = &control_protocol,
                .serve = serve_control,
                .closed = connection_closed,
                .userdata = doors,
        };

        return socket_server_new(&options, &doors->control, err);
}

int front_doors_open(const struct front_doors_options *options, const struct config *config,
                     struct front_doors **ret, struct wla_error *err) {
        struct front_doors *doors = calloc(1, sizeof(*doors));

        if (!doors)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        doors->options = *options;
        if (open_keyprovider(doors, config, err) < 0 || open_control(doors, config, err) < 0) {
                front_doors_free(doors);
                return -1;
        }
        front_doors_configure(doors, config);
        *ret = doors;
        return 0;
}

struct front_doors *front_doors_free(struct front_doors *doors) {
        if (!doors)
                return NULL;

        socket_server_free(doors->keyprovider);
        socket_server_free(doors->control);
        free(doors);
        return NULL;
}

/* Root comes in by the control socket whatever AllowUsers= says: it is the operator. */
void front_doors_configure(struct front_doors *doors, const struct config *config) {
        uid_t uids[CONFIG_USERS_MAX + 1] = {0};
        size_t count = config->keyprovider.allow_users.count;

        for (size_t i = 0; i < count; i++)
                uids[i + 1] = config->keyprovider.allow_users.uids[i];

        doors->h2_limits = (struct h2_limits){
                .message_max = config->keyprovider.max_message_bytes,
                .streams_max = (uint32_t)config->keyprovider.max_streams,
                .call_timeout_usec = config->keyprovider.call_timeout_usec,
                .idle_timeout_usec = config->keyprovider.idle_timeout_usec,
        };
        socket_server_limit(doors->keyprovider, config->keyprovider.max_connections);
        socket_server_allow(doors->keyprovider, uids + 1, count);
        socket_server_allow(doors->control, uids, count + 1);
}

void front_doors_shutdown(struct front_doors *doors) {
        socket_server_shutdown(doors->keyprovider);
        socket_server_shutdown(doors->control);
}

size_t front_doors_keyprovider_connections(const struct front_doors *doors) {
        return socket_server_connections(doors->keyprovider);
}

size_t front_doors_connections(const struct front_doors *doors) {
        return socket_server_connections(doors->keyprovider) +
               socket_server_connections(doors->control);
}
