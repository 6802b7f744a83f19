/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/migrate.h"

int migrate_lock(const struct host_root *root, int *ret, struct wla_error *err) {
        _cleanup_close_ int path = -1;
        struct wla_error why = {0};

        *ret = -1;
        if (geteuid() != 0)
                return wla_fail_hint(err, WLA_E_DENIED, "run it as root", "only root can do this");
        if (host_root_directory(root, INTEL_DIRECTORY, &path, &why) < 0) {
                if (why.code == WLA_E_NOT_FOUND)
                        return 0;
                *err = why;
                return -1;
        }

        /* That one was opened as a path only. */
        _cleanup_close_ int fd = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return wla_fail_errno(err, errno, "cannot open " INTEL_DIRECTORY);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return wla_fail_errno(err, errno, "cannot lock " INTEL_DIRECTORY);
                return wla_fail_hint(err, WLA_E_BUSY, "wait for its end",
                                     "another 'wlagent migrate' or 'wlagent setup' is at work");
        }
        *ret = TAKE_FD(fd);
        return 0;
}
