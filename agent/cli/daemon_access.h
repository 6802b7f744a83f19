/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether wlagentd, which is not root, can read what root has put somewhere for it.
 *
 * Judged are the modes of files, for the user wlagent and its groups.  Nothing is said where that would be a guess: without
 * such a user, as when wlagent runs from a build directory; for callers who are not root, whose wlagentd is their own; and
 * of a path with an access control list (acl(5)), which modes do not show.  Nor of what is not there or cannot be looked at.
 *
 * Threads: one.
 * Failure: WLA_E_DENIED, and the text names the directory or file that is closed.
 */

#include "wlagent/error.h"

/* The directory, those above it, and the files in it, but for those whose names begin with '.'. */
int daemon_access_check(const char *directory, struct wla_error *err) _must_check_;
