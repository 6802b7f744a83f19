/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The files of one command: what it writes may be none of the others, for what is replaced is gone, be it the
 * only disk, a header or a key.
 *
 * Two are one when they are the same file, whichever names lead there, or would have the same name in the same
 * directory, where there is none yet, or the same path.  Two names of a file that is only read are nobody's harm.
 *
 * It is asked before the work, about files as they are then.
 *
 * Threads: one.  Failure: WLA_E_INPUT when two are one, and the text names both; WLA_E_SYSTEM when it cannot be
 * known.  A file that does not exist, or has no directory, is left to who opens it.
 */

#include <stddef.h>

#include "wlagent/error.h"

struct used_file {
        const char *role; /* as the command's usage calls it */
        const char *path; /* NULL: there is none */
        bool written;
        bool or_input; /* "-" is standard input */
};

/* Some of them, as an argument. */
struct used_files {
        const struct used_file *files;
        size_t count;
};

int distinct_files_check(const struct used_file *files, size_t count,
                         struct wla_error *err) _must_check_;
