/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A directory and those above it, made where they are missing.
 *
 * Those above get mode 0755, as packages make them, whatever the umask; what exists stays as it is.
 * Threads: one.
 * Failure: WLA_E_DENIED when the user may not, _INPUT, _SYSTEM; the text names the directory.
 */

#include <limits.h>
#include <sys/types.h>

#include "wlagent/error.h"

/* Opens it; a symbolic link in its place is refused. */
int directory_path_make(const char *path, mode_t mode, int *ret_fd,
                        struct wla_error *err) _must_check_;

/* Whether nobody but root and the caller can change where the path leads: as far as it exists, each directory belongs to
 * one of the two, and is not open for others to write, unless it is sticky.  WLA_E_DENIED names the one that is not so. */
int directory_path_check(const char *path, struct wla_error *err) _must_check_;

/* The error of something done to a path: as root it might pass. */
int directory_path_fail(int errno_value, const char *doing, const char *path,
                        struct wla_error *err);
