/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The files of a host, or of an image of one that is mounted somewhere: absolute paths below a directory.
 *
 * Symbolic links are followed only as the first name of a path (/var may be one), as they would lead if the
 * directory were the root.  Any other link in a path is refused: some of these directories belong to users
 * other than root, who could lead root elsewhere.
 *
 * Ownership: host_root_done() closes the directory, host_root_close_list() a list.
 * Threads:   one.
 * Failure:   WLA_E_NOT_FOUND when nothing is there, WLA_E_INPUT for a link or another kind of file than asked
 *            for, WLA_E_SYSTEM; the text names the path without the directory.
 */

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/buf.h"

struct host_root {
        int fd;
        bool running; /* it is the root of this host */
};

#define HOST_ROOT_CLOSED ((struct host_root){.fd = -1})

/* directory: NULL for this host. */
int host_root_open(const char *directory, struct host_root *ret,
                   struct wla_error *err) _must_check_;
void host_root_done(struct host_root *root);

#define _cleanup_host_root_ __attribute__((cleanup(host_root_done)))

/* The directory that path is in, and its last name there, which points into path. */
int host_root_parent(const struct host_root *root, const char *path, int *ret_fd,
                     const char **ret_name, struct wla_error *err) _must_check_;

/* A directory itself. */
int host_root_directory(const struct host_root *root, const char *path, int *ret_fd,
                        struct wla_error *err) _must_check_;

/* To read its names; NULL when it cannot be. */
DIR *host_root_list(const struct host_root *root, const char *path);
void host_root_close_list(DIR **list);

#define _cleanup_list_ __attribute__((cleanup(host_root_close_list)))

/* Of a link itself, when path is one. */
int host_root_stat(const struct host_root *root, const char *path, struct stat *ret,
                   struct wla_error *err) _must_check_;

/* false also when it cannot be told. */
bool host_root_exists(const struct host_root *root, const char *path);

/* A regular file. */
int host_root_read(const struct host_root *root, const char *path, struct buf *content,
                   struct wla_error *err) _must_check_;

/* The same of what a link leads to, as it would if the directory were the root.  For looking only: others may
 * have made the link. */
int host_root_read_followed(const struct host_root *root, const char *path, struct buf *content,
                            struct wla_error *err) _must_check_;

/* Where a symbolic link leads. */
int host_root_link(const struct host_root *root, const char *path, char to[static PATH_MAX],
                   struct wla_error *err) _must_check_;

/* The numbers of a user of that root, and of its group; false when there is none of that name. */
bool host_root_user(const struct host_root *root, const char *name, uid_t *ret_uid, gid_t *ret_gid);
