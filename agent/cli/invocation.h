/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One run of wlagent: its configuration, and what several commands need of it.
 *
 * Ownership: the configuration is the invocation's and lives until invocation_done().
 * Threads:   one.
 */

#include "base/buf.h"
#include "config/config.h"
#include "source/key_store.h"
#include "wlagent/error.h"

#define INVOCATION_FAULTS_MAX (64u * 1024u)

struct invocation {
        const char *config_path; /* --config, or NULL */
        struct config *config;   /* read on first use */
        struct buf faults;       /* of the configuration, a line each */
};

#define INVOCATION ((struct invocation){.faults.limit = INVOCATION_FAULTS_MAX})

void invocation_done(struct invocation *invocation);

#define _cleanup_invocation_ __attribute__((cleanup(invocation_done)))

/* Without --config the default file if it exists, else the defaults. */
int invocation_config(struct invocation *invocation, const struct config **ret,
                      struct wla_error *err) _must_check_;

/* No core dump, no tracing: for commands that hold requests or keys. */
int invocation_forbid_dumps(struct wla_error *err) _must_check_;

/* For commands that handle plaintext keys: that, and locked memory. */
int invocation_guard_secrets(struct invocation *invocation, struct wla_error *err) _must_check_;

/* The key store of this host. */
int invocation_key_store(struct invocation *invocation, struct key_store *ret,
                         struct wla_error *err) _must_check_;

/* Fingerprint of this host's binding key; "" before 'wlagent setup'. */
int invocation_host_fingerprint(struct invocation *invocation, char ret[KEY_FINGERPRINT_SIZE],
                                struct wla_error *err) _must_check_;

/* Has a running wlagentd wipe its cache, so that a key that was replaced or removed is not used any
 * more.  Says so on standard error when that cannot be done. */
void invocation_forget_cached_keys(struct invocation *invocation);

/* The same rule for key names wherever they come from: command line, option or file. */
int invocation_check_key_name(const char *name, struct wla_error *err) _must_check_;
