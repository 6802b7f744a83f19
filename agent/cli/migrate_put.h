/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Changes of single files below a root, each of which happens whole or not at all, and may be repeated.
 *
 * A new file is written as ".NAME.new" beside the other first; what an interrupted run leaves under that name
 * is replaced by the next.  Owners and modes go to what was opened: a link, or a file that has other names
 * as well, is refused.
 *
 * Threads: one.
 * Failure: as cli/host_root.h says; WLA_E_DENIED when the user may not; the text names the path.
 */

#include <sys/types.h>
#include <time.h>

#include "base/secret.h"
#include "cli/host_root.h"

struct migrate_put {
        uid_t uid;
        gid_t gid;
        mode_t mode;
        const struct timespec *changed; /* mtime of a file or link; NULL: now */
};

/* Directories above path, with mode 0755. */
int migrate_put_parents(const struct host_root *root, const char *path,
                        struct wla_error *err) _must_check_;

int migrate_put_file(const struct host_root *root, const char *path, struct wla_bytes content,
                     const struct migrate_put *put, struct wla_error *err) _must_check_;

int migrate_put_link(const struct host_root *root, const char *path, const char *target,
                     const struct migrate_put *put, struct wla_error *err) _must_check_;

/* Of a file or directory that is there. */
int migrate_put_access(const struct host_root *root, const char *path,
                       const struct migrate_put *put, struct wla_error *err) _must_check_;

/* Removes a file, a link or an empty directory, with what an interrupted run has left beside or in it. */
int migrate_put_nothing(const struct host_root *root, const char *path,
                        struct wla_error *err) _must_check_;
