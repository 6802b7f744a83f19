/* SPDX-License-Identifier: Apache-2.0 */
#include "image/direct_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "image/disk_source.h"

/* An open file description of its own, since O_DIRECT belongs to that. */
struct direct_write direct_write_begin(int fd) {
        char path[32];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return (struct direct_write){
                .fd = fd,
                .direct_fd = open(path, O_RDWR | O_CLOEXEC | O_DIRECT),
        };
}

void direct_write_end(struct direct_write *file) {
        file_closep(&file->direct_fd);
}

int direct_write(const struct direct_write *file, uint64_t at, const uint8_t *data, size_t size,
                 struct wla_error *err) {
        size_t done = 0;

        while (done < size) {
                bool aligned = ((at + done) | (uintptr_t)(data + done) | (size - done)) %
                                       DISK_ALIGNMENT ==
                               0;
                ssize_t written = pwrite(aligned && file->direct_fd >= 0 ? file->direct_fd
                                                                         : file->fd,
                                         data + done, size - done, (off_t)(at + done));

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return wla_fail_errno(err, errno, "cannot write at byte %ju",
                                              (uintmax_t)(at + done));
                if (written == 0)
                        return wla_fail(err, WLA_E_SYSTEM,
                                        "nothing more can be written at byte %ju",
                                        (uintmax_t)(at + done));
                done += (size_t)written;
        }
        return 0;
}
