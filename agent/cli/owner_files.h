/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The files that an owner's configuration names, against those that a command writes: the configuration itself, the
 * envelope key, and what is in the directory of trusted certificates, where nothing new belongs either.
 *
 * Threads: one.
 * Failure: as cli/distinct_files.h; what does not exist, or cannot be listed, is left to who opens it.
 */

#include "cli/distinct_files.h"
#include "cli/owner_config.h"

/* written: NULL for a command that writes no file. */
int owner_files_check(const struct owner_config *config, const struct used_files *written,
                      struct wla_error *err) _must_check_;
