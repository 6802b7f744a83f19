/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* Whatever is there by that name counts, so that nothing less than its absence lets a flavor be ignored. */
static int find_marker(const char *state_directory, const struct uuid *image, bool *ret,
                       struct wla_error *err) {
        char path[4096];

        (void)snprintf(path, sizeof(path), "%s/images/%s.wls", state_directory, image->text);
        *ret = faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        if (!*ret && errno != ENOENT)
                return wla_fail_errno(err, errno, "the registered image %s", image->text);
        return 0;
}

int registry_open(const char *state_directory, const struct uuid *image, int *ret_fd, bool *ret_wls,
                  struct wla_error *err) {
        char path[4096];
        struct stat status;

        (void)snprintf(path, sizeof(path), "%s/images/%s.header", state_directory, image->text);
        _cleanup_close_ int fd = open(path,
                                      O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == ENOENT) {
                *ret_fd = -1;
                *ret_wls = false;
                return 0;
        }
        if (fd < 0)
                return wla_fail_errno(err, errno, "the registered image %s", image->text);
        if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
                return wla_fail(err, WLA_E_INPUT, "%s is not a regular file", path);
        if (find_marker(state_directory, image, ret_wls, err) < 0)
                return -1;
        *ret_fd = TAKE_FD(fd);
        return 0;
}
