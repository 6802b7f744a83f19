/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A word for a command line that somebody is told, and may give to a shell as it stands: with quotes where it has
 * other characters than letters, digits and those in %+,-./:=@_ (POSIX.1-2017, Shell Command Language, 2.2).
 *
 * Threads: pure.  Failure: that of the buffer.
 */

#include "base/buf.h"

int shell_word_append(struct buf *to, const char *word, struct wla_error *err) _must_check_;
