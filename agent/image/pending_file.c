/* SPDX-License-Identifier: Apache-2.0 */
#include "image/pending_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/rename_free.h"

#define FD_PATH_SIZE 32u

static const char hint_directory[] = "make that directory first, or name another file";

static int open_directory(const char *path, struct pending_file *file, struct wla_error *err) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *directory = NULL;

        directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
        if (!directory)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        file->path = path;
        file->name = slash ? slash + 1 : path;
        if (file->name[0] == '\0' || strcmp(file->name, ".") == 0 || strcmp(file->name, "..") == 0)
                return wla_fail(err, WLA_E_INPUT, "%s is no name for a file", path);
        if (file_open_directory(directory, false, 0, &file->directory_fd, err) == 0)
                return 0;
        if (err->code == WLA_E_NOT_FOUND)
                err->hint = hint_directory;
        return -1;
}

static int make_temporary_name(char *to, size_t size, struct wla_error *err) {
        uint64_t nonce;

        if (getrandom(&nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
                return wla_fail_errno(err, errno, "cannot make a temporary name");
        (void)snprintf(to, size, ".new-%016jx", (uintmax_t)nonce);
        return 0;
}

static int open_named(struct pending_file *file, mode_t mode, struct wla_error *err) {
        char name[sizeof(file->temporary)];

        if (make_temporary_name(name, sizeof(name), err) < 0)
                return -1;
        file->fd = openat(file->directory_fd, name,
                          O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (file->fd < 0)
                return wla_fail_errno(err, errno, "cannot write %s", file->path);

        memcpy(file->temporary, name, sizeof(name));
        return 0;
}

static int link_unnamed(int fd, int directory_fd, const char *name) {
        char path[FD_PATH_SIZE];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, path, directory_fd, name, AT_SYMLINK_FOLLOW);
}

/* A file system may have files without a name, and none for them later.  That shall not come out when all the
 * work is done; and one that had a name once cannot get another, so it is tried with a file of its own. */
static bool can_name_later(int directory_fd) {
        struct wla_error ignored = {0};
        char name[sizeof(((struct pending_file *)NULL)->temporary)];
        _cleanup_close_ int fd = openat(directory_fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC,
                                        S_IRUSR | S_IWUSR);

        if (fd < 0 || make_temporary_name(name, sizeof(name), &ignored) < 0 ||
            link_unnamed(fd, directory_fd, name) < 0)
                return false;
        (void)unlinkat(directory_fd, name, 0);
        return true;
}

static int open_unnamed(struct pending_file *file, mode_t mode, struct wla_error *err) {
        file->fd = openat(file->directory_fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, mode);
        return file->fd < 0 ? wla_fail_errno(err, errno, "cannot write %s", file->path) : 0;
}

int pending_file_open(const char *path, mode_t mode, struct pending_file *ret,
                      struct wla_error *err) {
        _cleanup_pending_file_ struct pending_file file = PENDING_FILE;

        if (open_directory(path, &file, err) < 0)
                return -1;
        int outcome = can_name_later(file.directory_fd) ? open_unnamed(&file, mode, err)
                                                        : open_named(&file, mode, err);
        if (outcome < 0)
                return -1;

        *ret = file;
        file = PENDING_FILE;
        return 0;
}

/* rename() replaces, link() does not. */
static int give_name(struct pending_file *file, bool replace) {
        if (file->temporary[0] == '\0' && !replace)
                return link_unnamed(file->fd, file->directory_fd, file->name);

        if (file->temporary[0] == '\0') {
                struct wla_error ignored = {0};
                char name[sizeof(file->temporary)];

                if (make_temporary_name(name, sizeof(name), &ignored) < 0 ||
                    link_unnamed(file->fd, file->directory_fd, name) < 0)
                        return -1;
                memcpy(file->temporary, name, sizeof(name));
        }
        int fd = file->directory_fd;
        if ((replace ? renameat(fd, file->temporary, fd, file->name)
                     : rename_free(fd, file->temporary, file->name)) < 0)
                return -1;
        file->temporary[0] = '\0';
        return 0;
}

int pending_file_publish(struct pending_file *file, bool replace, struct wla_error *err) {
        if (fsync(file->fd) < 0)
                return wla_fail_errno(err, errno, "cannot write %s", file->path);
        if (give_name(file, replace) < 0) {
                if (errno == EEXIST)
                        return wla_fail_hint(err, WLA_E_INPUT, "--force replaces it",
                                             "%s exists already", file->path);
                return wla_fail_errno(err, errno, "cannot name %s", file->path);
        }
        if (fsync(file->directory_fd) < 0) {
                (void)wla_fail_errno(err, errno, "cannot make %s durable", file->path);
                if (!replace)
                        (void)unlinkat(file->directory_fd, file->name, 0);
                return -1;
        }
        return 0;
}

void pending_file_clear(struct pending_file *file) {
        if (file->temporary[0] != '\0')
                (void)unlinkat(file->directory_fd, file->temporary, 0);
        file_closep(&file->fd);
        file_closep(&file->directory_fd);
        *file = PENDING_FILE;
}
