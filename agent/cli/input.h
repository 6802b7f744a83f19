/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a user gives a command: a file by its path, or standard input as "-".
 *
 * Failure: WLA_E_NOT_FOUND, WLA_E_INPUT when it is too large, a directory, or a terminal;
 * WLA_E_SYSTEM.  The text names it.
 */

#include "base/buf.h"
#include "base/secret.h"

/* For messages: the path, or "standard input". */
const char *input_name(const char *path);

/* Appends all of it; content's limit is the size limit. */
int input_read(const char *path, struct buf *content, struct wla_error *err) _must_check_;

/* Exactly size bytes, read into locked memory and nowhere else.  hint: what to do when there are more or less. */
int input_read_secret(const char *path, size_t size, const char *hint, struct wla_secret **ret,
                      struct wla_error *err) _must_check_;
