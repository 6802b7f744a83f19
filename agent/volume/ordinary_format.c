/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/ordinary_format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/crypt_log.h"

#define OFFSET_UNIT 512u
#define ITERATIONS  1000u /* libcryptsetup's floor */

static int format(struct crypt_device *device, const struct luks2_header *like,
                  const struct wla_secret *volume_key, const struct wla_secret *passphrase,
                  const struct crypt_log *log, struct wla_error *err) {
        const struct crypt_pbkdf_type pbkdf = {
                .type = CRYPT_KDF_PBKDF2,
                .hash = "sha256",
                .iterations = ITERATIONS,
                .flags = CRYPT_PBKDF_NO_BENCHMARK,
        };
        struct crypt_params_luks2 params = {.pbkdf = &pbkdf, .sector_size = like->sector_size};
        struct wla_bytes key = wla_secret_view(volume_key);
        struct wla_bytes phrase = wla_secret_view(passphrase);

        if (crypt_log_check(log, crypt_set_data_offset(device, like->data_offset / OFFSET_UNIT),
                            "set the data's offset", err) < 0 ||
            crypt_log_check(log,
                            crypt_format(device, CRYPT_LUKS2, "aes", "xts-plain64", NULL,
                                         (const char *)key.data, key.size, &params),
                            "make a LUKS2 header", err) < 0)
                return -1;
        return crypt_log_check(log,
                               crypt_keyslot_add_by_volume_key(device, 0, (const char *)key.data,
                                                               key.size, (const char *)phrase.data,
                                                               phrase.size),
                               "make a keyslot", err);
}

int ordinary_format(int fd, const struct luks2_header *like, const struct wla_secret *volume_key,
                    const struct wla_secret *passphrase, struct wla_error *err) {
        struct crypt_device *device = NULL;
        struct crypt_log log = {0};
        char path[32];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (crypt_log_check(&log, crypt_init(&device, path), "open the new volume", err) < 0)
                return -1;

        crypt_log_begin(&log, device);
        /* Nobody else has the file. */
        (void)crypt_metadata_locking(device, 0);
        int outcome = format(device, like, volume_key, passphrase, &log, err);
        crypt_free(device);
        return outcome;
}

int ordinary_format_read(int fd, struct luks2_header *ret, struct wla_error *err) {
        _cleanup_free_ uint8_t *bytes = malloc(LUKS2_HEADER_MAX);
        struct luks2_header header;

        if (!bytes)
                return wla_fail(err, WLA_E_BUSY, "there is no memory for a header");

        ssize_t size = pread(fd, bytes, LUKS2_HEADER_MAX, 0);
        if (size < 0)
                return wla_fail_errno(err, errno, "reading the header");
        if (luks2_header_check(bytes, (size_t)size, &header, err) < 0)
                return -1;
        if (header.kind != LUKS2_ORDINARY)
                return wla_fail(err, WLA_E_INPUT, "the header is not an ordinary one");
        *ret = header;
        return 0;
}
