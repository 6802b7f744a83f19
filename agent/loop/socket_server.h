/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A unix socket with its listener and its connections: systemd's, or made by ourselves.
 *
 * Ownership: the server owns the socket and the connections; a protocol belongs to its connection.
 * Threads:   the loop thread.
 * Failure:   socket_server_new() as unix_socket.h says.
 */

#include "loop/connection.h"
#include "loop/listener.h"

struct socket_server;

struct socket_server_options {
        sd_event *event;
        const char
                *name; /* FileDescriptorName= of the socket unit, and the word in logs; a literal */
        const char *path; /* served when systemd has handed over none of that name */
        size_t connections_max;
        const struct connection_protocol *protocol;
        /* Makes the protocol's self for a new connection.  connection is for connection_wake(). */
        int (*serve)(void *userdata, struct connection *connection, const struct ucred *peer,
                     void **ret_self, struct wla_error *err);
        void (*closed)(void *userdata); /* a connection has ended */
        void *userdata;
};

int socket_server_new(const struct socket_server_options *options, struct socket_server **ret,
                      struct wla_error *err) _must_check_;

/* Closes all connections.  Accepts and returns NULL. */
struct socket_server *socket_server_free(struct socket_server *server);

/* Who may connect besides the caller's own user, and how many connections there may be.  Those who may no
 * more finish what is under way. */
void socket_server_allow(struct socket_server *server, const uid_t *uids, size_t count);
void socket_server_limit(struct socket_server *server, size_t connections_max);

/* Stops listening; what is under way is finished. */
void socket_server_shutdown(struct socket_server *server);

size_t socket_server_connections(const struct socket_server *server);
