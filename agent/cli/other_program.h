/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Other programs of this host: where they are, and what they say in a line.
 *
 * Threads: one.  Failure: WLA_E_NOT_FOUND not installed, WLA_E_TIMEOUT it hangs, WLA_E_SYSTEM.
 */

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "wlagent/error.h"

/* Looks in PATH. */
int other_program_find(const char *name, char to[static PATH_MAX],
                       struct wla_error *err) _must_check_;

/* Runs argv, argv[0] being a path, for at most limit_usec, and takes the first line of its standard
 * output, other than printable characters as '?', cut at size.  Its exit code does not count. */
int other_program_first_line(char *const argv[], uint64_t limit_usec, char *to, size_t size,
                             struct wla_error *err) _must_check_;

/* Runs argv without input and output until it ends; WLA_E_TIMEOUT, and it is killed, after limit_usec.
 * *ret_code: its exit code, or 128 and the number of the signal that has ended it. */
int other_program_run(char *const argv[], uint64_t limit_usec, int *ret_code,
                      struct wla_error *err) _must_check_;
