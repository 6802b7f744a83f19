/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Uses a mapping of an image that another session has made.
 *
 * A name proves nothing: whoever knows an image's UUID can write it into a header of his own.  So the
 * table has to be the one that this session would make, the file below the one that it has opened, and
 * the key has to be the one it was given: what it decrypts itself is what the mapping shows.
 *
 * Threads: one at a time, in a process without others.
 * Failure: WLA_E_BUSY for a mapping that comes or goes just now, WLA_E_DENIED for one that is another's,
 *          or a wrong key; WLA_E_SYSTEM.
 */

#include "volume/mapping.h"

int shared_mapping_take(const struct mapping_plan *plan, const char *name,
                        const struct crypt_table *expected, const struct wla_secret *volume_key,
                        struct mapping *ret, struct wla_error *err) _must_check_;
