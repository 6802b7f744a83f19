/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The composition of the daemon: the one place that knows every module.
 *
 * Threads:   the caller's thread becomes the loop thread.
 * Ownership: daemon_new() takes the configuration, also when it fails.
 * Failure:   daemon_new() names what could not be started; a TPM that does not answer is no reason not
 *            to start.
 */

#include "config/config.h"

struct daemon;

/* The secure heap must have been made, and no other thread be running. */
int daemon_new(struct config *config, struct daemon **ret, struct wla_error *err) _must_check_;

/* Until SIGTERM or SIGINT. */
int daemon_run(struct daemon *daemon, struct wla_error *err) _must_check_;

/* Wipes all keys.  Accepts and returns NULL. */
struct daemon *daemon_free(struct daemon *daemon);
