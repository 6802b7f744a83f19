/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/socket_server.h"

#include <stdlib.h>
#include <sys/socket.h>

/* The group decides who reaches the socket, the list of users who is served. */
#define SOCKET_MODE 0660

struct socket_server {
        struct socket_server_options options;
        struct connection_set *connections;
        struct listener *listener;
};

static int accepted(void *userdata, int fd, const struct ucred *peer, struct wla_error *err) {
        struct socket_server *server = userdata;
        struct connection *connection;
        void *self;

        if (connection_new(server->connections, fd, peer, &connection, err) < 0)
                return -1;
        if (server->options.serve(server->options.userdata, connection, peer, &self, err) < 0) {
                connection_close(connection);
                return -1;
        }
        connection_serve(connection, server->options.protocol, self);
        return 0;
}

static int open_socket(const struct socket_server_options *options, struct unix_socket *ret,
                       struct wla_error *err) {
        if (unix_socket_inherit(options->name, SOCK_STREAM, ret, err) < 0)
                return -1;
        return ret->fd >= 0 ? 0
                            : unix_socket_listen(options->path, SOCK_STREAM, SOCKET_MODE, ret, err);
}

int socket_server_new(const struct socket_server_options *options, struct socket_server **ret,
                      struct wla_error *err) {
        struct socket_server *server = calloc(1, sizeof(*server));
        struct unix_socket socket = UNIX_SOCKET_NONE;

        if (!server)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        server->options = *options;
        const struct connection_set_options set_options = {
                .event = options->event,
                .connections_max = options->connections_max,
                .closed = options->closed,
                .userdata = options->userdata,
        };
        const struct listener_options listener_options = {
                .event = options->event,
                .name = options->name,
                .accepted = accepted,
                .userdata = server,
        };
        if (connection_set_new(&set_options, &server->connections, err) < 0 ||
            open_socket(options, &socket, err) < 0 ||
            listener_new(&listener_options, &socket, &server->listener, err) < 0) {
                socket_server_free(server);
                return wla_wrap(err, "serving the %s socket", options->name);
        }

        *ret = server;
        return 0;
}

struct socket_server *socket_server_free(struct socket_server *server) {
        if (!server)
                return NULL;

        listener_free(server->listener);
        connection_set_free(server->connections);
        free(server);
        return NULL;
}

static bool listener_still_allows(const void *listener, uid_t uid) {
        return listener_allows(listener, uid);
}

void socket_server_allow(struct socket_server *server, const uid_t *uids, size_t count) {
        listener_allow(server->listener, uids, count);
        connection_set_review(server->connections, listener_still_allows, server->listener);
}

void socket_server_limit(struct socket_server *server, size_t connections_max) {
        connection_set_limit(server->connections, connections_max);
}

void socket_server_shutdown(struct socket_server *server) {
        server->listener = listener_free(server->listener);
        connection_set_shutdown(server->connections);
}

size_t socket_server_connections(const struct socket_server *server) {
        return connection_set_count(server->connections);
}
