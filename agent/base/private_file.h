/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A file that holds a secret of the user who runs the program: read into locked memory and nowhere else.
 *
 * It has to be a regular file of the caller's or root's, without any access for group and others.  A
 * symbolic link is followed: what counts is what it leads to.
 *
 * Threads: any.  Failure: WLA_E_NOT_FOUND, WLA_E_DENIED when others have access, WLA_E_INPUT when it is
 * empty, too long or no regular file, WLA_E_SYSTEM; the text names the path.
 */

#include "base/secret.h"

/* max: bytes, below what a secret can have. */
int private_file_read(const char *path, size_t max, struct wla_secret **ret,
                      struct wla_error *err) _must_check_;
