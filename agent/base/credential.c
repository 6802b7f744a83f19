/* SPDX-License-Identifier: Apache-2.0 */
#include "base/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static const char hint_provide[] = "systemd provides it: a drop-in of wlagentd.service with "
                                   "LoadCredentialEncrypted=NAME:FILE, see wlagentd(8)";

static int open_credential(const char *name, int *ret, struct wla_error *err) {
        const char *directory = secure_getenv("CREDENTIALS_DIRECTORY");
        _cleanup_close_ int dir_fd = -1;

        if (!directory)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_provide,
                                     "there is no credential %s", name);
        dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd = dir_fd < 0 ? -1 : openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_provide,
                                     "there is no credential %s", name);
        if (fd < 0)
                return wla_fail_errno(err, errno, "cannot open the credential %s", name);
        *ret = fd;
        return 0;
}

/* One byte more than allowed, to see that it is too long. */
static ssize_t read_all(int fd, uint8_t *to, size_t size) {
        size_t used = 0;

        while (used < size) {
                ssize_t got = read(fd, to + used, size - used);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -1;
                if (got == 0)
                        break;
                used += (size_t)got;
        }
        return (ssize_t)used;
}

int credential_read(const char *name, struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_close_ int fd = -1;

        if (open_credential(name, &fd, err) < 0 ||
            wla_secret_new(CREDENTIAL_MAX + 1, &secret, err) < 0)
                return -1;

        uint8_t *text = wla_secret_fill(secret);
        ssize_t size = read_all(fd, text, CREDENTIAL_MAX + 1);
        if (size < 0)
                return wla_fail_errno(err, errno, "cannot read the credential %s", name);
        if (size > 0 && text[size - 1] == '\n')
                size--;
        if (size == 0 || size > (ssize_t)CREDENTIAL_MAX)
                return wla_fail(err, WLA_E_INPUT, "the credential %s has to have 1 to %u bytes",
                                name, CREDENTIAL_MAX);

        wla_secret_truncate(secret, (size_t)size);
        *ret = TAKE_PTR(secret);
        return 0;
}

int credential_examine(const char *name, struct stat *ret, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (open_credential(name, &fd, err) < 0)
                return -1;
        if (fstat(fd, ret) < 0)
                return wla_fail_errno(err, errno, "cannot examine the credential %s", name);
        return 0;
}
