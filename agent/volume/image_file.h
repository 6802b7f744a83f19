/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The file of an image, opened once beneath one of the directories where images may be.
 *
 * Below the directory no symbolic link is followed and nothing leads out (openat2(2)); the file is judged
 * before it is opened for reading, so that no device or FIFO notices.  From then on it is known by its
 * descriptor only.  The same holds for its header, PATH.header or where that is said to be.
 *
 * Ownership: image_file_close() releases it and is safe on IMAGE_FILE_NONE.
 * Threads:   any.
 * Failure:   WLA_E_NOT_FOUND, WLA_E_DENIED outside of the directories, through a link, or when others may
 *            write to the file, WLA_E_INPUT for what cannot be an image, WLA_E_SYSTEM.  The texts name the
 *            header, but not the image: the caller does.
 */

#include <sys/types.h>

#include "config/config.h"

struct image_file {
        int fd;        /* for reading */
        int header_fd; /* -1 when there is none */
        dev_t device;
        ino_t inode;
        uint64_t size;
        uint64_t allocated;
};

#define IMAGE_FILE_NONE ((struct image_file){.fd = -1, .header_fd = -1})

/* Absolute paths, in shortest form.  header: NULL for the one beside the image, which may be missing. */
int image_file_open(const struct config_paths *roots, const char *path, const char *header,
                    struct image_file *ret, struct wla_error *err) _must_check_;

/* Any other file below these directories, for reading and writing. */
int image_file_open_writable(const struct config_paths *roots, const char *path, int *ret_fd,
                             struct wla_error *err) _must_check_;

/* The directory that the image is in, for reading; *ret_name is its name there, inside of path. */
int image_file_open_directory(const struct config_paths *roots, const char *path, int *ret_fd,
                              const char **ret_name, struct wla_error *err) _must_check_;

/* The same file for writing. */
int image_file_reopen(int fd, int *ret_fd, struct wla_error *err) _must_check_;

void image_file_close(struct image_file *file);

#define _cleanup_image_file_ __attribute__((cleanup(image_file_close)))
