/* SPDX-License-Identifier: Apache-2.0 */
#include "image/header_writer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "image/crypt_log.h"

#define METADATA_SIZE     16384u
#define KEYSLOTS_SIZE     4096u /* libcryptsetup takes 0 for its default of 16 MiB */
#define DIGEST_ITERATIONS 1000u /* the volume key is random: there is nothing to slow down */
#define FD_PATH_SIZE      32u

_Static_assert(2 * METADATA_SIZE + KEYSLOTS_SIZE == IMAGE_HEADER_SIZE, "the parts of a header");

static int make_memory_file(const char *name, off_t size, int *ret_fd, struct wla_error *err) {
        _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC);

        if (fd < 0 || ftruncate(fd, size) < 0)
                return wla_fail_errno(err, errno, "cannot make a file in memory");

        *ret_fd = TAKE_FD(fd);
        return 0;
}

static void name_fd(int fd, char to[static FD_PATH_SIZE]) {
        (void)snprintf(to, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

/* Without a data device of its own libcryptsetup would put the data behind the header. */
static int format(struct crypt_device *device, const struct header_content *content,
                  const char *data_path, const struct crypt_log *log, struct wla_error *err) {
        const struct crypt_pbkdf_type pbkdf = {
                .type = CRYPT_KDF_PBKDF2,
                .hash = "sha256",
                .iterations = DIGEST_ITERATIONS,
                .flags = CRYPT_PBKDF_NO_BENCHMARK,
        };
        struct crypt_params_luks2 params = {
                .pbkdf = &pbkdf,
                .data_device = data_path,
                .sector_size = IMAGE_SECTOR_SIZE,
        };
        struct wla_bytes key = wla_secret_view(content->volume_key);

        if (crypt_log_check(log, crypt_set_metadata_size(device, METADATA_SIZE, KEYSLOTS_SIZE),
                            "set the size of a header", err) < 0 ||
            crypt_log_check(log, crypt_set_data_offset(device, 0), "set the data's offset", err) <
                    0)
                return -1;
        return crypt_log_check(log,
                               crypt_format(device, CRYPT_LUKS2, "aes", "xts-plain64",
                                            content->uuid.text, (const char *)key.data, key.size,
                                            &params),
                               "make a LUKS2 header", err);
}

static int write_to(const char *path, const char *data_path, const struct header_content *content,
                    const char *token, struct wla_error *err) {
        struct crypt_device *device = NULL;
        struct crypt_log log;

        crypt_log_begin(&log, NULL);
        int outcome = crypt_log_check(&log, crypt_init(&device, path), "open a file in memory",
                                      err);
        if (outcome == 0)
                outcome = format(device, content, data_path, &log, err);
        if (outcome == 0)
                outcome = crypt_log_check(&log,
                                          crypt_token_json_set(device, CRYPT_ANY_TOKEN, token),
                                          "write the token", err);
        crypt_free(device);
        crypt_log_end();
        return outcome;
}

static int read_back(int fd, struct buf *to, struct wla_error *err) {
        uint8_t *bytes = buf_extend(to, IMAGE_HEADER_SIZE, err);

        if (!bytes)
                return -1;
        if (pread(fd, bytes, IMAGE_HEADER_SIZE, 0) != (ssize_t)IMAGE_HEADER_SIZE)
                return wla_fail(err, WLA_E_SYSTEM, "libcryptsetup has written a short header");
        return 0;
}

static int write_and_check(const struct header_content *content, const char *token, struct buf *to,
                           struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        _cleanup_close_ int data_fd = -1;
        char path[FD_PATH_SIZE];
        char data_path[FD_PATH_SIZE];
        struct luks2_header header;
        size_t start = to->size;

        if (make_memory_file("wlagent-header", IMAGE_HEADER_SIZE, &fd, err) < 0 ||
            make_memory_file("wlagent-no-data", IMAGE_SECTOR_SIZE, &data_fd, err) < 0)
                return -1;

        name_fd(fd, path);
        name_fd(data_fd, data_path);
        if (write_to(path, data_path, content, token, err) < 0 || read_back(fd, to, err) < 0)
                return -1;
        return luks2_header_check(to->data + start, IMAGE_HEADER_SIZE, &header, err);
}

int header_write(const struct header_content *content, struct buf *to, struct wla_error *err) {
        _cleanup_buf_ struct buf token = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        size_t start = to->size;

        if (buf_append(&token, content->token->data, content->token->size, err) < 0)
                return -1;

        const char *text = buf_text(&token, err);
        if (!text)
                return -1;
        if (write_and_check(content, text, to, err) < 0) {
                to->size = start;
                return wla_wrap(err, "making a header");
        }
        return 0;
}

static int verify_key(const char *path, const char *data_path, const struct wla_secret *volume_key,
                      struct wla_error *err) {
        struct wla_bytes key = wla_secret_view(volume_key);
        struct crypt_device *device = NULL;
        struct crypt_log log;

        crypt_log_begin(&log, NULL);
        int outcome = crypt_log_check(&log, crypt_init_data_device(&device, path, data_path),
                                      "open a file in memory", err);
        if (outcome == 0)
                outcome = crypt_log_check(&log, crypt_load(device, CRYPT_LUKS2, NULL),
                                          "read the header", err);
        if (outcome == 0 && crypt_volume_key_verify(device, (const char *)key.data, key.size) < 0)
                outcome = wla_fail_hint(err, WLA_E_DENIED, "its header was changed",
                                        "the digest in the header is of another volume key");
        crypt_free(device);
        crypt_log_end();
        return outcome;
}

int header_check_key(const struct buf *header, const struct wla_secret *volume_key,
                     struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        _cleanup_close_ int data_fd = -1;
        char path[FD_PATH_SIZE];
        char data_path[FD_PATH_SIZE];

        if (make_memory_file("wlagent-header", (off_t)header->size, &fd, err) < 0 ||
            make_memory_file("wlagent-no-data", IMAGE_SECTOR_SIZE, &data_fd, err) < 0)
                return -1;
        if (pwrite(fd, header->data, header->size, 0) != (ssize_t)header->size)
                return wla_fail_errno(err, errno, "cannot write a file in memory");

        name_fd(fd, path);
        name_fd(data_fd, data_path);
        return verify_key(path, data_path, volume_key, err);
}
