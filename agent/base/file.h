/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Small files: read whole under a limit, replaced atomically.
 *
 * Threads: any.  Failure: WLA_E_NOT_FOUND when the file does not exist, WLA_E_INPUT when it is not a
 * regular file or above the limit, WLA_E_SYSTEM otherwise; the text names the path.
 */

#include <sys/stat.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/secret.h"
#include "wlagent/error.h"

#define _cleanup_close_ __attribute__((cleanup(file_closep)))
#define _cleanup_free_  __attribute__((cleanup(file_freep)))
#define TAKE_FD(fd)                \
        ({                         \
                int *_fd = &(fd);  \
                int _taken = *_fd; \
                *_fd = -1;         \
                _taken;            \
        })
#define TAKE_PTR(pointer)                                   \
        ({                                                  \
                __typeof__(pointer) *_pointer = &(pointer); \
                __typeof__(pointer) _taken = *_pointer;     \
                *_pointer = NULL;                           \
                _taken;                                     \
        })

/* Keep errno. */
void file_closep(int *fd);
void file_freep(void *pointer);

/* Appends the content of a regular file to content, whose limit is the size limit.  A symbolic link
 * is refused. */
int file_read(int dir_fd, const char *path, struct buf *content,
              struct wla_error *err) _must_check_;

/* Opens what somebody has named, to read: a symbolic link is followed, and nothing is waited for, whatever it is. */
int file_open_named(const char *path, int *ret_fd, struct wla_error *err) _must_check_;

/* Like file_read(), and refuses a file that group or others may write, or that belongs neither to
 * root nor to the caller. */
int file_read_trusted(const char *path, struct buf *content, struct wla_error *err) _must_check_;

/* The same check, for who reads it otherwise: *ret_mode says who else may read it. */
int file_open_trusted(const char *path, int *ret_fd, mode_t *ret_mode,
                      struct wla_error *err) _must_check_;

/* Replaces dir_fd/name by data: temporary file, fsync, rename, fsync of the directory.  The owner is
 * that of the directory when the caller may set it, so that a file made by root stays readable for
 * the daemon.  With replace false an existing file is WLA_E_INPUT.  On failure the old file is as it
 * was and no temporary file stays. */
int file_write(int dir_fd, const char *name, const void *data, size_t size, mode_t mode,
               bool replace, struct wla_error *err) _must_check_;

/* The same, and the file belongs to uid and gid; (uid_t)-1 and (gid_t)-1: to the caller. */
int file_write_for(int dir_fd, const char *name, struct wla_bytes data, mode_t mode, uid_t uid,
                   gid_t gid, struct wla_error *err) _must_check_;

/* Writes all of data where fd is; -1 with errno. */
int file_write_all(int fd, struct wla_bytes data) _must_check_;

/* Whether nobody has replaced or changed a file between the two, as far as that shows. */
bool file_is_same(const struct stat *a, const struct stat *b);

/* Makes a directory unless it exists, and opens it.  mode is for a new one. */
int file_open_directory(const char *path, bool create, mode_t mode, int *ret_fd,
                        struct wla_error *err) _must_check_;
