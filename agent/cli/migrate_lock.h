/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One 'wlagent migrate' that changes something at a time, and none beside a 'wlagent setup', which locks the same
 * directory: a plan that was overtaken would put the secret of config.yml beside a key that was just made.
 *
 * Ownership: the lock ends when the caller closes *ret, which is -1 where there is no such directory.
 * Threads:   one.
 * Failure:   WLA_E_BUSY while another one has it, _DENIED for who is not root, otherwise as cli/host_root.h.
 */

#include "cli/host_root.h"

int migrate_lock(const struct host_root *root, int *ret, struct wla_error *err) _must_check_;
