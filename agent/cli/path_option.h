/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The path of a file that another process opens: absolute, because that one works in another directory.
 * Whether there is such a file, and whether the path has its one form, is for the other to say.
 *
 * Failure: WLA_E_INPUT when the working directory is not known; WLA_E_BUSY above to's limit.
 */

#include "base/buf.h"

/* ret lives as long as to, which holds nothing else. */
int path_option_take(const char *path, struct buf *to, const char **ret,
                     struct wla_error *err) _must_check_;
