/* SPDX-License-Identifier: Apache-2.0 */
#include "base/private_file.h"

#include <errno.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static int check_access(const char *path, int fd, struct wla_error *err) {
        struct stat status;

        if (fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "cannot examine %s", path);
        if (!S_ISREG(status.st_mode))
                return wla_fail(err, WLA_E_INPUT, "%s is not a regular file", path);
        if (status.st_uid != geteuid() && status.st_uid != 0)
                return wla_fail(err, WLA_E_DENIED, "%s belongs to another user (%ju)", path,
                                (uintmax_t)status.st_uid);
        if (status.st_mode & (S_IRWXG | S_IRWXO))
                return wla_fail_hint(err, WLA_E_DENIED, "it may hold a secret: 'chmod 600' it",
                                     "%s is open to others (mode %04o)", path,
                                     (unsigned)status.st_mode & 07777);
        return 0;
}

int private_file_read(const char *path, size_t max, struct wla_secret **ret,
                      struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *content = NULL;
        _cleanup_close_ int fd = -1;
        size_t size = 0;

        if (file_open_named(path, &fd, err) < 0 || check_access(path, fd, err) < 0 ||
            wla_secret_new(max + 1, &content, err) < 0)
                return -1;

        while (size <= max) {
                ssize_t got = read(fd, wla_secret_fill(content) + size, max + 1 - size);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return wla_fail_errno(err, errno, "cannot read %s", path);
                if (got == 0)
                        break;
                size += (size_t)got;
        }
        if (size == 0 || size > max)
                return wla_fail(err, WLA_E_INPUT, "%s has to have 1 to %zu bytes", path, max);

        wla_secret_truncate(content, size);
        *ret = TAKE_PTR(content);
        return 0;
}
