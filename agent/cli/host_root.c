/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/host_root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"

#define PASSWD_MAX (1024u * 1024u)

/* glibc has no function for it yet. */
static int open_below(int dir_fd, const char *path, uint64_t flags, uint64_t resolve) {
        const struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};

        return (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
}

static int fail_open(const char *path, int errno_value, struct wla_error *err) {
        if (errno_value == ENOENT || errno_value == ENOTDIR)
                return wla_fail(err, WLA_E_NOT_FOUND, "%s does not exist", path);
        if (errno_value == ELOOP)
                return wla_fail(err, WLA_E_INPUT, "%s leads over a symbolic link", path);
        return wla_fail_errno(err, errno_value, "cannot open %s", path);
}

int host_root_open(const char *directory, struct host_root *ret, struct wla_error *err) {
        const char *path = directory ? directory : "/";
        int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return fail_open(path, errno, err);
        *ret = (struct host_root){.fd = fd, .running = !directory};
        return 0;
}

void host_root_done(struct host_root *root) {
        file_closep(&root->fd);
}

/* The first name, which may be a link; the rest is behind it. */
static int open_first(const struct host_root *root, const char *path, const char **ret_rest) {
        char first[NAME_MAX + 1];
        size_t size = strcspn(path + 1, "/");

        if (path[0] != '/' || size == 0 || size >= sizeof(first)) {
                errno = EINVAL;
                return -1;
        }
        memcpy(first, path + 1, size);
        first[size] = '\0';
        *ret_rest = path + 1 + size;
        return open_below(root->fd, first, O_PATH | O_DIRECTORY,
                          RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int host_root_directory(const struct host_root *root, const char *path, int *ret_fd,
                        struct wla_error *err) {
        const char *rest = NULL;
        _cleanup_close_ int first = open_first(root, path, &rest);

        if (first < 0)
                return fail_open(path, errno, err);
        if (*rest == '\0') {
                *ret_fd = TAKE_FD(first);
                return 0;
        }

        int fd = open_below(first, rest + 1, O_PATH | O_DIRECTORY,
                            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
        if (fd < 0)
                return fail_open(path, errno, err);
        *ret_fd = fd;
        return 0;
}

int host_root_parent(const struct host_root *root, const char *path, int *ret_fd,
                     const char **ret_name, struct wla_error *err) {
        const char *slash = strrchr(path, '/');
        char parent[PATH_MAX];

        if (!slash || slash == path || slash[1] == '\0' || slash - path >= PATH_MAX)
                return wla_fail(err, WLA_E_INPUT, "%s is no path below a directory", path);
        memcpy(parent, path, (size_t)(slash - path));
        parent[slash - path] = '\0';

        *ret_name = slash + 1;
        return host_root_directory(root, parent, ret_fd, err);
}

DIR *host_root_list(const struct host_root *root, const char *path) {
        struct wla_error ignored = {0};
        _cleanup_close_ int fd = -1;

        if (host_root_directory(root, path, &fd, &ignored) < 0)
                return NULL;
        /* That one was opened as a path only. */
        int readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *list = readable < 0 ? NULL : fdopendir(readable);
        if (!list)
                file_closep(&readable);
        return list;
}

void host_root_close_list(DIR **list) {
        if (*list)
                (void)closedir(*list);
}

int host_root_stat(const struct host_root *root, const char *path, struct stat *ret,
                   struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        const char *name;

        if (host_root_parent(root, path, &parent, &name, err) < 0)
                return -1;
        if (fstatat(parent, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
                return fail_open(path, errno, err);
        return 0;
}

bool host_root_exists(const struct host_root *root, const char *path) {
        struct wla_error ignored = {0};
        struct stat facts;

        return host_root_stat(root, path, &facts, &ignored) == 0;
}

int host_root_read(const struct host_root *root, const char *path, struct buf *content,
                   struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        const char *name;

        if (host_root_parent(root, path, &parent, &name, err) < 0)
                return -1;
        if (file_read(parent, name, content, err) < 0)
                return wla_wrap(err, "%.*s", (int)(name - path), path);
        return 0;
}

int host_root_read_followed(const struct host_root *root, const char *path, struct buf *content,
                            struct wla_error *err) {
        _cleanup_close_ int fd = open_below(root->fd, path + 1, O_RDONLY | O_NONBLOCK | O_NOCTTY,
                                            RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
        uint8_t chunk[4096];
        struct stat facts;
        ssize_t size;

        if (fd < 0)
                return fail_open(path, errno, err);
        if (fstat(fd, &facts) < 0)
                return wla_fail_errno(err, errno, "cannot examine %s", path);
        if (!S_ISREG(facts.st_mode))
                return wla_fail(err, WLA_E_INPUT, "%s is not a regular file", path);
        while ((size = read(fd, chunk, sizeof(chunk))) != 0) {
                if (size < 0)
                        return wla_fail_errno(err, errno, "cannot read %s", path);
                if (content->size + (size_t)size > content->limit)
                        return wla_fail(err, WLA_E_INPUT, "%s is larger than %zu bytes", path,
                                        content->limit);
                if (buf_append(content, chunk, (size_t)size, err) < 0)
                        return -1;
        }
        return 0;
}

int host_root_link(const struct host_root *root, const char *path, char to[static PATH_MAX],
                   struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        const char *name;

        if (host_root_parent(root, path, &parent, &name, err) < 0)
                return -1;

        ssize_t size = readlinkat(parent, name, to, PATH_MAX);
        if (size < 0 && errno == EINVAL)
                return wla_fail(err, WLA_E_INPUT, "%s is no symbolic link", path);
        if (size < 0)
                return fail_open(path, errno, err);
        if (size == PATH_MAX)
                return wla_fail(err, WLA_E_INPUT, "%s leads to a path that is too long", path);
        to[size] = '\0';
        return 0;
}

static bool find_user(FILE *file, const char *name, uid_t *ret_uid, gid_t *ret_gid) {
        struct passwd entry = {0};
        struct passwd *found;
        char strings[4096];

        while (fgetpwent_r(file, &entry, strings, sizeof(strings), &found) == 0)
                if (strcmp(found->pw_name, name) == 0) {
                        *ret_uid = found->pw_uid;
                        *ret_gid = found->pw_gid;
                        return true;
                }
        return false;
}

/* Another root's users are in its own file; this host's may come from elsewhere. */
bool host_root_user(const struct host_root *root, const char *name, uid_t *ret_uid,
                    gid_t *ret_gid) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(PASSWD_MAX);
        struct wla_error ignored = {0};

        if (root->running) {
                const struct passwd *user = getpwnam(name);

                if (!user)
                        return false;
                *ret_uid = user->pw_uid;
                *ret_gid = user->pw_gid;
                return true;
        }

        if (host_root_read(root, "/etc/passwd", &text, &ignored) < 0 || text.size == 0)
                return false;
        FILE *file = fmemopen(text.data, text.size, "r");
        if (!file)
                return false;
        bool found = find_user(file, name, ret_uid, ret_gid);
        (void)fclose(file);
        return found;
}
