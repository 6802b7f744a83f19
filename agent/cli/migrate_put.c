/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_put.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#define PARENT_MODE   0755
#define NEW_NAME_SIZE (NAME_MAX + sizeof("..new"))

static int fail(int errno_value, const char *doing, const char *path, struct wla_error *err) {
        if (errno_value == EACCES || errno_value == EPERM)
                return wla_fail_hint(err, WLA_E_DENIED, "run it as root", "%s %s: not permitted",
                                     doing, path);
        return wla_fail_errno(err, errno_value, "%s %s", doing, path);
}

int migrate_put_parents(const struct host_root *root, const char *path, struct wla_error *err) {
        char directory[PATH_MAX];

        for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                _cleanup_close_ int parent = -1;
                const char *name;

                (void)snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
                if (!strchr(directory + 1, '/'))
                        continue;
                if (host_root_parent(root, directory, &parent, &name, err) < 0)
                        return -1;
                if (mkdirat(parent, name, PARENT_MODE) < 0 && errno != EEXIST)
                        return fail(errno, "making", directory, err);
        }
        return 0;
}

static int open_parent(const struct host_root *root, const char *path, int *ret_fd,
                       const char **ret_name, char new_name[static NEW_NAME_SIZE],
                       struct wla_error *err) {
        if (host_root_parent(root, path, ret_fd, ret_name, err) < 0)
                return -1;
        if ((size_t)snprintf(new_name, NEW_NAME_SIZE, ".%s.new", *ret_name) > NAME_MAX)
                return wla_fail(err, WLA_E_INPUT, "%s: the name is too long", path);
        return 0;
}

static int fill(int fd, struct wla_bytes content, const struct migrate_put *put) {
        if (fchown(fd, put->uid, put->gid) < 0 || fchmod(fd, put->mode) < 0 ||
            file_write_all(fd, content) < 0)
                return -1;
        if (put->changed) {
                const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, *put->changed};

                if (futimens(fd, times) < 0)
                        return -1;
        }
        return fsync(fd);
}

/* The directory was opened as a path, and fsync() wants more than that. */
static int sync_directory(int dir_fd) {
        _cleanup_close_ int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -1 : fsync(fd);
}

int migrate_put_file(const struct host_root *root, const char *path, struct wla_bytes content,
                     const struct migrate_put *put, struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        char new_name[NEW_NAME_SIZE];
        const char *name;

        if (open_parent(root, path, &parent, &name, new_name, err) < 0)
                return -1;
        if (unlinkat(parent, new_name, 0) < 0 && errno != ENOENT)
                return fail(errno, "cleaning up for", path, err);

        _cleanup_close_ int fd = openat(parent, new_name,
                                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return fail(errno, "writing", path, err);
        if (fill(fd, content, put) < 0 || renameat(parent, new_name, parent, name) < 0 ||
            sync_directory(parent) < 0) {
                int saved = errno;

                (void)unlinkat(parent, new_name, 0);
                return fail(saved, "writing", path, err);
        }
        return 0;
}

int migrate_put_link(const struct host_root *root, const char *path, const char *target,
                     const struct migrate_put *put, struct wla_error *err) {
        const struct timespec times[2] = {{.tv_nsec = UTIME_NOW},
                                          put->changed ? *put->changed
                                                       : (struct timespec){.tv_nsec = UTIME_NOW}};
        _cleanup_close_ int parent = -1;
        char new_name[NEW_NAME_SIZE];
        const char *name;

        if (open_parent(root, path, &parent, &name, new_name, err) < 0)
                return -1;
        if (unlinkat(parent, new_name, 0) < 0 && errno != ENOENT)
                return fail(errno, "cleaning up for", path, err);
        if (symlinkat(target, parent, new_name) < 0 ||
            fchownat(parent, new_name, put->uid, put->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
            utimensat(parent, new_name, times, AT_SYMLINK_NOFOLLOW) < 0 ||
            renameat(parent, new_name, parent, name) < 0 || sync_directory(parent) < 0) {
                int saved = errno;

                (void)unlinkat(parent, new_name, 0);
                return fail(saved, "making", path, err);
        }
        return 0;
}

/* A file is opened without waiting for what a FIFO in its place may bring. */
int migrate_put_access(const struct host_root *root, const char *path,
                       const struct migrate_put *put, struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        struct stat facts;
        const char *name;

        if (host_root_parent(root, path, &parent, &name, err) < 0)
                return -1;
        _cleanup_close_ int fd = openat(parent, name,
                                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "%s does not exist", path);
        if (fd < 0)
                return fail(errno, "opening", path, err);
        if (fstat(fd, &facts) < 0)
                return fail(errno, "examining", path, err);
        if (!S_ISDIR(facts.st_mode) && (!S_ISREG(facts.st_mode) || facts.st_nlink != 1))
                return wla_fail(err, WLA_E_DENIED,
                                "%s is not a file or directory with one name; its owner and mode "
                                "are not changed",
                                path);
        if (fchown(fd, put->uid, put->gid) < 0 || fchmod(fd, put->mode) < 0)
                return fail(errno, "changing the owner and mode of", path, err);
        return 0;
}

/* What base/file.h leaves when it is interrupted, and this file. */
static bool is_leftover(const char *name) {
        size_t size = strlen(name);

        return strncmp(name, ".new-", 5) == 0 ||
               (name[0] == '.' && size > 5 && strcmp(name + size - 4, ".new") == 0);
}

static int empty_directory(int parent, const char *name) {
        _cleanup_close_ int fd = openat(parent, name,
                                        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
        DIR *list = copy < 0 ? NULL : fdopendir(copy);
        const struct dirent *entry;

        if (!list) {
                file_closep(&copy);
                return -1;
        }
        while ((entry = readdir(list)))
                if (is_leftover(entry->d_name))
                        (void)unlinkat(fd, entry->d_name, 0);
        (void)closedir(list);
        return 0;
}

int migrate_put_nothing(const struct host_root *root, const char *path, struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        struct wla_error why = {0};
        char new_name[NEW_NAME_SIZE];
        struct stat facts;
        const char *name;

        if (open_parent(root, path, &parent, &name, new_name, &why) < 0) {
                if (why.code == WLA_E_NOT_FOUND)
                        return 0;
                *err = why;
                return -1;
        }
        (void)unlinkat(parent, new_name, 0);
        if (fstatat(parent, name, &facts, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : fail(errno, "examining", path, err);

        bool is_directory = S_ISDIR(facts.st_mode);
        if (is_directory && empty_directory(parent, name) < 0)
                return fail(errno, "reading", path, err);
        if (unlinkat(parent, name, is_directory ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT &&
            errno != ENOTEMPTY && errno != EEXIST)
                return fail(errno, "removing", path, err);
        if (sync_directory(parent) < 0)
                return fail(errno, "removing", path, err);
        return 0;
}
