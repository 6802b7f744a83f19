/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The main process of wlagent-volumed: it accepts, judges the peer, and gives each connection a process.
 *
 * It never touches anybody's key or header, nor a device; see volume/rehearsal.h.  Its children hold the leases
 * and go with it; what a child that was killed has left behind is tidied up by another one (volume/sweep.h,
 * layer_store_tidy()).
 *
 * Ownership: server_new() does not take the config.
 * Threads:   one.
 * Failure:   as unix_socket_listen().
 */

#include "config/config.h"

struct server;

int server_new(const struct config *config, struct server **ret,
               struct wla_error *err) _must_check_;

/* Until SIGTERM or SIGINT. */
int server_run(struct server *server, struct wla_error *err) _must_check_;

struct server *server_free(struct server *server);
