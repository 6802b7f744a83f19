/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static const char hint_again[] = "run 'wlagent image register --force' on this host";

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

int registry_open(const char *state_directory, const struct uuid *image,
                  struct registered_image *ret, struct wla_error *err) {
        struct registered_image found = {.found = true, .header_fd = -1};
        char path[4096];
        struct stat status;

        (void)snprintf(path, sizeof(path), "%s/images/%s.header", state_directory, image->text);
        _cleanup_close_ int fd = open(path,
                                      O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == ENOENT) {
                *ret = (struct registered_image){.header_fd = -1};
                return 0;
        }
        if (fd < 0)
                return wla_fail_errno(err, errno, "the registered image %s", image->text);
        if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
                return wla_fail(err, WLA_E_INPUT, "%s is not a regular file", path);
        if (find_marker(state_directory, image, &found.wls, err) < 0)
                return -1;
        if (status.st_size > 0)
                found.header_fd = TAKE_FD(fd);
        else if (!found.wls)
                return wla_fail_hint(err, WLA_E_INPUT, hint_again, "%s is empty", path);
        *ret = found;
        return 0;
}
