/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "volume/message.h"

#define HEADER_SUFFIX  ".header"
#define ALLOCATED_UNIT 512u /* of st_blocks; stat(3type) */

static const char hint_roots[] =
        "ImageRoots= lists the directories; add the one where images are, without links below it, "
        "and run 'systemctl restart wlagent-volumed', which reads them when it starts";
static const char hint_mode[] = "run 'chmod o-w' on it";

/* What of path is below root; NULL when it is not. */
static const char *beneath(const char *root, const char *path) {
        size_t length = strlen(root);

        if (strncmp(root, path, length) != 0 || path[length] != '/')
                return NULL;
        return path + length + 1;
}

/* The directory closest to the file: it may be another file system. */
static const char *find_root(const struct config_paths *roots, const char *path,
                             const char **ret_rest) {
        const char *found = NULL;

        for (size_t i = 0; i < roots->count; i++) {
                const char *rest = beneath(roots->paths[i], path);

                if (rest && (!found || strlen(roots->paths[i]) > strlen(found))) {
                        found = roots->paths[i];
                        *ret_rest = rest;
                }
        }
        return found;
}

static int open_beneath(int root_fd, const char *rest, int *ret_fd) {
        const struct open_how how = {
                .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };

        /* EAGAIN: something was renamed just now (openat2(2)). */
        for (int tries = 0; tries < 100; tries++) {
                long fd = syscall(SYS_openat2, root_fd, rest, &how, sizeof(how));

                if (fd >= 0) {
                        *ret_fd = (int)fd;
                        return 0;
                }
                if (errno != EAGAIN && errno != EINTR)
                        break;
        }
        return -1;
}

static int fail_open(int errno_value, struct wla_error *err) {
        if (errno_value == ENOENT || errno_value == ENOTDIR)
                return wla_fail(err, WLA_E_NOT_FOUND, "it does not exist");
        if (errno_value == ELOOP || errno_value == EXDEV)
                return wla_fail_hint(err, WLA_E_DENIED, hint_roots,
                                     "a symbolic link is on the way to it");
        return wla_fail_errno(err, errno_value, "opening it");
}

static int judge(int fd, struct stat *status, struct wla_error *err) {
        if (fstat(fd, status) < 0)
                return wla_fail_errno(err, errno, "looking at it");
        if (S_ISLNK(status->st_mode))
                return fail_open(ELOOP, err);
        if (!S_ISREG(status->st_mode))
                return wla_fail(err, WLA_E_INPUT, "it is not a regular file");
        if (status->st_mode & S_IWOTH)
                return wla_fail_hint(err, WLA_E_DENIED, hint_mode, "everybody may write to it");
        return 0;
}

static int open_again(int fd, int flags, int *ret_fd, struct wla_error *err) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int again = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (again < 0)
                return wla_fail_errno(err, errno, "opening it");
        *ret_fd = again;
        return 0;
}

static int open_file(int root_fd, const char *rest, int *ret_fd, struct stat *status,
                     struct wla_error *err) {
        _cleanup_close_ int path_fd = -1;

        if (open_beneath(root_fd, rest, &path_fd) < 0)
                return fail_open(errno, err);
        if (judge(path_fd, status, err) < 0)
                return -1;
        return open_again(path_fd, O_RDONLY, ret_fd, err);
}

static int open_root(const struct config_paths *roots, const char *path, int *ret_fd,
                     const char **ret_rest, struct wla_error *err) {
        const char *root = find_root(roots, path, ret_rest);

        if (!root)
                return wla_fail_hint(err, WLA_E_DENIED, hint_roots,
                                     "it is below none of the directories for images");
        *ret_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return *ret_fd < 0 ? fail_open(errno, err) : 0;
}

static int open_below(const struct config_paths *roots, const char *path, int *ret_fd,
                      struct stat *status, struct wla_error *err) {
        _cleanup_close_ int root_fd = -1;
        const char *rest = NULL;

        if (open_root(roots, path, &root_fd, &rest, err) < 0)
                return -1;
        return open_file(root_fd, rest, ret_fd, status, err);
}

/* That nothing is there may be so only for the header beside the image. */
static int open_header(const struct config_paths *roots, const char *path, const char *header,
                       struct image_file *file, struct wla_error *err) {
        char beside[VOLUMED_PATH_SIZE + sizeof(HEADER_SUFFIX)];
        struct stat status;

        (void)snprintf(beside, sizeof(beside), "%s" HEADER_SUFFIX, path);
        if (open_below(roots, header ? header : beside, &file->header_fd, &status, err) == 0)
                return 0;
        if (!header && err->code == WLA_E_NOT_FOUND) {
                *err = (struct wla_error){0};
                return 0;
        }
        return wla_wrap(err, "header %s", header ? header : beside);
}

int image_file_open(const struct config_paths *roots, const char *path, const char *header,
                    struct image_file *ret, struct wla_error *err) {
        _cleanup_image_file_ struct image_file file = IMAGE_FILE_NONE;
        struct stat status;

        if (open_below(roots, path, &file.fd, &status, err) < 0)
                return -1;
        if (status.st_size <= 0)
                return wla_fail(err, WLA_E_INPUT, "it is empty");
        if (open_header(roots, path, header, &file, err) < 0)
                return -1;

        file.device = status.st_dev;
        file.inode = status.st_ino;
        file.size = (uint64_t)status.st_size;
        file.allocated = (uint64_t)status.st_blocks * ALLOCATED_UNIT;
        *ret = file;
        file = IMAGE_FILE_NONE;
        return 0;
}

int image_file_open_writable(const struct config_paths *roots, const char *path, int *ret_fd,
                             struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        struct stat status;

        if (open_below(roots, path, &fd, &status, err) < 0)
                return -1;
        return open_again(fd, O_RDWR, ret_fd, err);
}

static int open_directory(int root_fd, const char *rest, size_t length, int *ret_fd,
                          struct wla_error *err) {
        _cleanup_close_ int path_fd = -1;
        char directory[VOLUMED_PATH_SIZE];

        (void)snprintf(directory, sizeof(directory), "%.*s", length > 0 ? (int)length : 1,
                       length > 0 ? rest : ".");
        if (open_beneath(root_fd, directory, &path_fd) < 0)
                return fail_open(errno, err);
        return open_again(path_fd, O_RDONLY | O_DIRECTORY, ret_fd, err);
}

int image_file_open_directory(const struct config_paths *roots, const char *path, int *ret_fd,
                              const char **ret_name, struct wla_error *err) {
        _cleanup_close_ int root_fd = -1;
        const char *rest = NULL;

        if (open_root(roots, path, &root_fd, &rest, err) < 0)
                return -1;

        const char *slash = strrchr(rest, '/');
        if (open_directory(root_fd, rest, slash ? (size_t)(slash - rest) : 0, ret_fd, err) < 0)
                return wla_wrap(err, "the directory of %s", path);
        *ret_name = slash ? slash + 1 : rest;
        return 0;
}

int image_file_reopen(int fd, int *ret_fd, struct wla_error *err) {
        return open_again(fd, O_RDWR, ret_fd, err);
}

void image_file_close(struct image_file *file) {
        file_closep(&file->fd);
        file_closep(&file->header_fd);
        *file = IMAGE_FILE_NONE;
}
