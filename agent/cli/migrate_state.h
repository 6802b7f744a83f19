/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What stands at a path, as a word that can be kept and compared later:
 *
 *   absent, directory, other
 *   file:DIGEST   SHA-256 of the content, in hex
 *   link:DIGEST   the same of where it leads
 *
 * Owner, mode and times do not count.  The digest of a file with a secret in it tells about the secret, so the word
 * is kept only where no less is kept from others than there.
 *
 * Threads: pure, or as cli/host_root.h says.
 * Failure: WLA_E_INPUT when a link is in the way, WLA_E_SYSTEM; the text names the path.
 */

#include "base/secret.h"
#include "cli/host_root.h"

#define MIGRATE_STATE_SIZE 72u

#define MIGRATE_STATE_ABSENT    "absent"
#define MIGRATE_STATE_DIRECTORY "directory"

int migrate_state_read(const struct host_root *root, const char *path,
                       char to[static MIGRATE_STATE_SIZE], struct wla_error *err) _must_check_;

/* Of a file with that content, and of a link that leads there. */
int migrate_state_of_file(struct wla_bytes content, char to[static MIGRATE_STATE_SIZE],
                          struct wla_error *err) _must_check_;
int migrate_state_of_link(const char *target, char to[static MIGRATE_STATE_SIZE],
                          struct wla_error *err) _must_check_;
