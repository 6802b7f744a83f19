/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/directory_path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define MODE_ABOVE 0755

int directory_path_fail(int errno_value, const char *doing, const char *path,
                        struct wla_error *err) {
        (void)wla_fail_errno(err, errno_value, "%s %s", doing, path);
        if (errno_value == EACCES || errno_value == EPERM) {
                err->code = WLA_E_DENIED;
                err->hint = "run wlagent as root";
        }
        return -1;
}

/* The umask may be that of root's shell, and take from wlagentd what it needs. */
static int make_one(const char *path, mode_t mode, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (mkdir(path, mode) < 0) {
                if (errno == EEXIST)
                        return 0;
                return directory_path_fail(errno, "making the directory", path, err);
        }
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fchmod(fd, mode) < 0)
                return directory_path_fail(errno, "setting the mode of", path, err);
        return 0;
}

static const char hint_own[] =
        "make it root's: 'chown root:root' and 'chmod go-w'; on a host of Intel's agent 'wlagent "
        "migrate --apply' does that";

/* The caller may share what is its own, unless it is root. */
static int check_one(const char *path, bool *ret_exists, struct wla_error *err) {
        struct stat facts;
        uid_t caller = geteuid();

        *ret_exists = false;
        if (stat(path, &facts) < 0)
                return errno == ENOENT ? 0 : directory_path_fail(errno, "looking at", path, err);
        *ret_exists = true;
        if (facts.st_uid != 0 && facts.st_uid != caller)
                return wla_fail_hint(err, WLA_E_DENIED, hint_own,
                                     "%s belongs to user %ju, who could change what is in it", path,
                                     (uintmax_t)facts.st_uid);
        if ((facts.st_mode & (S_IWGRP | S_IWOTH)) && !(facts.st_mode & S_ISVTX) &&
            (facts.st_uid == 0 || caller == 0))
                return wla_fail_hint(err, WLA_E_DENIED, hint_own,
                                     "what is in %s may be changed by others (mode %04o)", path,
                                     (unsigned)facts.st_mode & 07777);
        return 0;
}

int directory_path_check(const char *path, struct wla_error *err) {
        char above[PATH_MAX];
        size_t length = strlen(path);
        bool exists = true;

        if (length == 0 || length >= sizeof(above))
                return wla_fail(err, WLA_E_INPUT, "'%.80s' is no path of a directory", path);
        memcpy(above, path, length + 1);
        for (char *slash = strchr(above + 1, '/'); slash && exists;
             slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (check_one(above, &exists, err) < 0)
                        return -1;
                *slash = '/';
        }
        return exists ? check_one(path, &exists, err) : 0;
}

int directory_path_make(const char *path, mode_t mode, int *ret_fd, struct wla_error *err) {
        char above[PATH_MAX];
        size_t length = strlen(path);

        if (length == 0 || length >= sizeof(above))
                return wla_fail(err, WLA_E_INPUT, "'%.80s' is no path of a directory", path);
        memcpy(above, path, length + 1);
        for (char *slash = strchr(above + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (make_one(above, MODE_ABOVE, err) < 0)
                        return -1;
                *slash = '/';
        }
        if (make_one(path, mode, err) < 0)
                return -1;

        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return directory_path_fail(errno, "opening the directory", path, err);
        *ret_fd = fd;
        return 0;
}
