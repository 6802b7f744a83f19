/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A large file that gets its name when it is whole.
 *
 * Until then it has none (O_TMPFILE), so a killed program leaves nothing, or the empty file ".new-..." with
 * which it tried at the beginning whether such a file can have a name later.  Where the file system cannot do
 * that, and for the moment in which it replaces another file, it is called ".new-..." in the same
 * directory, which nobody takes for an image.
 *
 * Ownership: pending_file_clear() ends one that was not published, and is safe on PENDING_FILE.
 * Threads:   one.
 * Failure:   WLA_E_INPUT when a file of that name exists and may not be replaced, WLA_E_NOT_FOUND without
 *            the directory, WLA_E_SYSTEM; the text names the path.
 */

#include <sys/types.h>

#include "wlagent/error.h"

struct pending_file {
        int fd; /* for reading and writing */
        int directory_fd;
        const char *path; /* the caller's */
        const char *name; /* the last part of it */
        char temporary[32];
};

#define PENDING_FILE ((struct pending_file){.fd = -1, .directory_fd = -1})

/* path must outlive the file. */
int pending_file_open(const char *path, mode_t mode, struct pending_file *ret,
                      struct wla_error *err) _must_check_;

/* Everything to the disk; then the name; then the name to the disk.  When it fails and replaces nothing, there
 * is no file of that name. */
int pending_file_publish(struct pending_file *file, bool replace,
                         struct wla_error *err) _must_check_;

void pending_file_clear(struct pending_file *file);

#define _cleanup_pending_file_ __attribute__((cleanup(pending_file_clear)))
