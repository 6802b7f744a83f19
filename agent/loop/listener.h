/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Accepts connections on a unix socket, and decides by SO_PEERCRED who may stay before the first byte
 * is read.
 *
 * Ownership: listener_new() takes the socket, also when it fails; accepted() takes the descriptor,
 *            also when it fails.
 * Threads:   the loop thread.
 * Failure:   a peer that is refused is closed at once, counted, and logged at a limited rate.  Without
 *            descriptors left, one kept in reserve serves to close what waits; the listener never spins.
 */

#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "loop/unix_socket.h"
#include "wlagent/error.h"

#define LISTENER_USERS_MAX 64u

struct listener;

struct listener_options {
        sd_event *event;
        const char *name; /* as in logs: "keyprovider"; a literal */
        /* The descriptor is non-blocking and close-on-exec.  Failure is logged by the listener. */
        int (*accepted)(void *userdata, int fd, const struct ucred *peer, struct wla_error *err);
        void *userdata;
};

/* At first only the caller's own user is let in. */
int listener_new(const struct listener_options *options, struct unix_socket *socket,
                 struct listener **ret, struct wla_error *err) _must_check_;

/* Stops listening; the connections it has accepted live on.  Accepts and returns NULL. */
struct listener *listener_free(struct listener *listener);

/* Who is let in besides the caller's own user; at most LISTENER_USERS_MAX. */
void listener_allow(struct listener *listener, const uid_t *uids, size_t count);
bool listener_allows(const struct listener *listener, uid_t uid);
