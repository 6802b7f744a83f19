/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#define BLOCK_SIZE 4096u

const char *input_name(const char *path) {
        return strcmp(path, "-") == 0 ? "standard input" : path;
}

static int open_input(const char *path, int *ret_fd, struct wla_error *err) {
        int fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                        : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

        if (fd < 0 && errno == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "%s does not exist", path);
        if (fd < 0)
                return wla_fail_errno(err, errno, "cannot open %s", input_name(path));

        *ret_fd = fd;
        return 0;
}

/* Up to size bytes; less only at the end. */
static int read_some(int fd, const char *path, uint8_t *to, size_t size, size_t *ret_size,
                     struct wla_error *err) {
        size_t done = 0;

        while (done < size) {
                ssize_t got = read(fd, to + done, size - done);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return wla_fail_errno(err, errno, "cannot read %s", input_name(path));
                if (got == 0)
                        break;
                done += (size_t)got;
        }

        *ret_size = done;
        return 0;
}

int input_read(const char *path, struct buf *content, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (open_input(path, &fd, err) < 0)
                return -1;

        for (;;) {
                size_t room = content->limit - content->size;
                size_t wanted = room < BLOCK_SIZE ? room : BLOCK_SIZE;
                size_t size = 0;
                uint8_t beyond;

                if (room == 0) {
                        if (read_some(fd, path, &beyond, 1, &size, err) < 0)
                                return -1;
                        if (size == 0)
                                return 0;
                        return wla_fail(err, WLA_E_INPUT, "%s holds more than %zu bytes",
                                        input_name(path), content->limit);
                }

                uint8_t *to = buf_extend(content, wanted, err);
                if (!to || read_some(fd, path, to, wanted, &size, err) < 0)
                        return -1;
                content->size -= wanted - size;
                if (size < wanted)
                        return 0;
        }
}

int input_read_secret(const char *path, size_t size, const char *hint, struct wla_secret **ret,
                      struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_close_ int fd = -1;
        size_t got;

        if (open_input(path, &fd, err) < 0 || wla_secret_new(size + 1, &secret, err) < 0)
                return -1;

        if (isatty(fd))
                return wla_fail_hint(err, WLA_E_INPUT, "give it as a file or through a pipe",
                                     "a key is not read from a terminal");

        if (read_some(fd, path, wla_secret_fill(secret), size + 1, &got, err) < 0)
                return -1;

        if (got != size)
                return wla_fail_hint(err, WLA_E_INPUT, hint,
                                     got > size ? "%s holds more than the %zu bytes of a raw key"
                                                : "%s holds less than the %zu bytes of a raw key",
                                     input_name(path), size);

        wla_secret_truncate(secret, size);
        *ret = TAKE_PTR(secret);
        return 0;
}
