/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

void file_closep(int *fd) {
        int saved = errno;

        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
        errno = saved;
}

void file_freep(void *pointer) {
        void **block = pointer;

        free(*block);
        *block = NULL;
}

static int fail_open(struct wla_error *err, int errno_value, const char *path) {
        if (errno_value == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "%s does not exist", path);
        if (errno_value == ELOOP)
                return wla_fail(err, WLA_E_INPUT, "%s is a symbolic link", path);
        return wla_fail_errno(err, errno_value, "cannot open %s", path);
}

int file_open_named(const char *path, int *ret_fd, struct wla_error *err) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

        if (fd < 0 && errno == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "%s does not exist", path);
        if (fd < 0)
                return wla_fail_errno(err, errno, "cannot open %s", path);
        *ret_fd = fd;
        return 0;
}

static int open_regular(int dir_fd, const char *path, int *ret_fd, struct stat *ret_status,
                        struct wla_error *err) {
        /* Without O_NONBLOCK a FIFO in the file's place would hang us. */
        _cleanup_close_ int fd = openat(dir_fd, path,
                                        O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return fail_open(err, errno, path);
        if (fstat(fd, ret_status) < 0)
                return wla_fail_errno(err, errno, "cannot examine %s", path);
        if (!S_ISREG(ret_status->st_mode))
                return wla_fail(err, WLA_E_INPUT, "%s is not a regular file", path);

        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int read_all(int fd, const char *path, struct buf *content, struct wla_error *err) {
        for (;;) {
                uint8_t chunk[4096];
                ssize_t size = read(fd, chunk, sizeof(chunk));

                if (size < 0 && errno == EINTR)
                        continue;
                if (size < 0)
                        return wla_fail_errno(err, errno, "cannot read %s", path);
                if (size == 0)
                        return 0;

                int outcome = buf_append(content, chunk, (size_t)size, err);
                explicit_bzero(chunk, (size_t)size);
                if (outcome < 0) {
                        if (content->size + (size_t)size > content->limit)
                                return wla_fail(err, WLA_E_INPUT, "%s is larger than %zu bytes",
                                                path, content->limit);
                        return wla_wrap(err, "reading %s", path);
                }
        }
}

int file_read(int dir_fd, const char *path, struct buf *content, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        struct stat status;

        if (open_regular(dir_fd, path, &fd, &status, err) < 0)
                return -1;
        return read_all(fd, path, content, err);
}

int file_open_trusted(const char *path, int *ret_fd, mode_t *ret_mode, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        struct stat status;

        if (open_regular(AT_FDCWD, path, &fd, &status, err) < 0)
                return -1;
        if (status.st_uid != 0 && status.st_uid != geteuid())
                return wla_fail_hint(err, WLA_E_DENIED, "make root its owner",
                                     "%s belongs to user %ju, who could change it", path,
                                     (uintmax_t)status.st_uid);
        if (status.st_mode & (S_IWGRP | S_IWOTH))
                return wla_fail_hint(err, WLA_E_DENIED, "run 'chmod go-w' on it",
                                     "%s may be changed by others (mode %04o)", path,
                                     (unsigned)status.st_mode & 07777);
        *ret_mode = status.st_mode & 07777;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int file_read_trusted(const char *path, struct buf *content, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        mode_t mode;

        if (file_open_trusted(path, &fd, &mode, err) < 0)
                return -1;
        return read_all(fd, path, content, err);
}

int file_write_all(int fd, struct wla_bytes data) {
        while (data.size > 0) {
                ssize_t written = write(fd, data.data, data.size);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return -1;
                data.data += written;
                data.size -= (size_t)written;
        }
        return 0;
}

struct owner {
        uid_t uid;
        gid_t gid;
};

#define OWNER_CALLER ((struct owner){.uid = (uid_t)-1, .gid = (gid_t)-1})

/* root writes files for a daemon that is not root; anyone else owns what it writes anyway. */
static int owner_of_directory(int dir_fd, struct owner *ret) {
        struct stat directory;

        if (fstat(dir_fd, &directory) < 0)
                return -1;
        *ret = OWNER_CALLER;
        if (geteuid() == 0 && directory.st_uid != 0)
                *ret = (struct owner){.uid = directory.st_uid, .gid = directory.st_gid};
        return 0;
}

static int fill_temporary(int fd, struct wla_bytes data, mode_t mode, struct owner owner) {
        bool given = owner.uid != (uid_t)-1 || owner.gid != (gid_t)-1;

        if ((given && fchown(fd, owner.uid, owner.gid) < 0) || fchmod(fd, mode) < 0 ||
            file_write_all(fd, data) < 0)
                return -1;
        return fsync(fd);
}

/* linkat() refuses an existing name where rename() would replace it. */
static int give_name(int dir_fd, const char *temporary, const char *name, bool replace) {
        if (replace)
                return renameat(dir_fd, temporary, dir_fd, name);
        if (linkat(dir_fd, temporary, dir_fd, name, 0) < 0)
                return -1;
        return unlinkat(dir_fd, temporary, 0);
}

static int write_owned(int dir_fd, const char *name, struct wla_bytes data, mode_t mode,
                       struct owner owner, bool replace, struct wla_error *err) {
        uint64_t nonce;
        char temporary[64];

        if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
                return wla_fail_errno(err, errno, "cannot make a temporary name");
        (void)snprintf(temporary, sizeof(temporary), ".new-%016jx", (uintmax_t)nonce);

        _cleanup_close_ int fd = openat(dir_fd, temporary,
                                        O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return wla_fail_errno(err, errno, "cannot write %s", name);

        if (fill_temporary(fd, data, mode, owner) < 0 ||
            give_name(dir_fd, temporary, name, replace) < 0) {
                int saved = errno;

                (void)unlinkat(dir_fd, temporary, 0);
                if (saved == EEXIST)
                        return wla_fail(err, WLA_E_INPUT, "%s exists already", name);
                return wla_fail_errno(err, saved, "cannot write %s", name);
        }

        if (fsync(dir_fd) < 0)
                return wla_fail_errno(err, errno, "cannot make %s durable", name);
        return 0;
}

bool file_is_same(const struct stat *a, const struct stat *b) {
        return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int file_write(int dir_fd, const char *name, const void *data, size_t size, mode_t mode,
               bool replace, struct wla_error *err) {
        const struct wla_bytes bytes = {.data = data, .size = size};
        struct owner owner;

        if (owner_of_directory(dir_fd, &owner) < 0)
                return wla_fail_errno(err, errno, "cannot write %s", name);
        return write_owned(dir_fd, name, bytes, mode, owner, replace, err);
}

int file_write_for(int dir_fd, const char *name, struct wla_bytes data, mode_t mode, uid_t uid,
                   gid_t gid, struct wla_error *err) {
        const struct owner owner = {.uid = uid, .gid = gid};

        return write_owned(dir_fd, name, data, mode, owner, true, err);
}

int file_open_directory(const char *path, bool create, mode_t mode, int *ret_fd,
                        struct wla_error *err) {
        if (create && mkdir(path, mode) < 0 && errno != EEXIST)
                return wla_fail_errno(err, errno, "cannot make the directory %s", path);

        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return fail_open(err, errno, path);

        *ret_fd = fd;
        return 0;
}
