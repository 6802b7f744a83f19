/* SPDX-License-Identifier: Apache-2.0 */
#include "image/rename_free.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int rename_free(int directory_fd, const char *from, const char *to) {
        if (renameat2(directory_fd, from, directory_fd, to, RENAME_NOREPLACE) == 0)
                return 0;
        if (errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
                return -1;

        if (linkat(directory_fd, from, directory_fd, to, 0) < 0)
                return -1;
        /* A server that has done it already is asked again when its answer was lost. */
        if (unlinkat(directory_fd, from, 0) == 0 || errno == ENOENT)
                return 0;
        int cause = errno;
        if (faccessat(directory_fd, from, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                (void)unlinkat(directory_fd, to, 0);
        errno = cause;
        return -1;
}
