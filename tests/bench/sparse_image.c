/* SPDX-License-Identifier: Apache-2.0 */

/* sparse_image FILE SIZE KEY-ID
 *
 * Makes FILE, an encrypted image of SIZE bytes that takes no space, and FILE.header. The key-encryption
 * key, 32 bytes, comes on standard input. What the image decrypts to is noise: it is there to be opened. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "image/header_writer.h"
#include "image/volume_key.h"

#define KEK_SIZE 32u

static int read_kek(struct wla_secret **ret, struct wla_error *err) {
        if (wla_secret_new(KEK_SIZE, ret, err) < 0)
                return -1;
        if (read(STDIN_FILENO, wla_secret_fill(*ret), KEK_SIZE) != KEK_SIZE)
                return wla_fail(err, WLA_E_INPUT, "there is no key on standard input");
        return 0;
}

static int make_file(const char *path, int *ret_fd, struct wla_error *err) {
        *ret_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return *ret_fd < 0 ? wla_fail_errno(err, errno, "%s", path) : 0;
}

static int make_header(int fd, struct image_token *token, struct buf *header,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(65536);
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        _cleanup_secret_ struct wla_secret *kek = NULL;
        struct uuid uuid;

        if (read_kek(&kek, err) < 0 || volume_key_generate(&volume_key, err) < 0 ||
            uuid_generate(&uuid, err) < 0 ||
            image_probe(volume_key, &uuid, fd, token->size, token->probe, err) < 0 ||
            image_key_wrap(kek, &uuid, volume_key, token, err) < 0 ||
            image_token_write(token, &json, err) < 0)
                return -1;

        const struct header_content content = {
                .uuid = uuid, .volume_key = volume_key, .token = &json};
        return header_write(&content, header, err);
}

static int make(const char *path, const char *size, const char *key_id, struct wla_error *err) {
        _cleanup_buf_ struct buf header = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
        _cleanup_close_ int fd = -1;
        _cleanup_close_ int header_fd = -1;
        char header_path[4096];
        struct image_token token = {
                .content = IMAGE_CONTENT_RAW,
                .size = strtoull(size, NULL, 10),
        };

        token.virtual_size = token.size;
        (void)snprintf(header_path, sizeof(header_path), "%s.header", path);
        if (wla_secret_heap_init(true, err) < 0 ||
            key_id_parse(key_id, strlen(key_id), &token.key_id, err) < 0 ||
            make_file(path, &fd, err) < 0 || make_file(header_path, &header_fd, err) < 0)
                return -1;
        if (ftruncate(fd, (off_t)token.size) < 0)
                return wla_fail_errno(err, errno, "%s", path);
        if (make_header(fd, &token, &header, err) < 0)
                return -1;
        if (write(header_fd, header.data, header.size) != (ssize_t)header.size)
                return wla_fail_errno(err, errno, "%s", header_path);
        return 0;
}

int main(int argc, char **argv) {
        struct wla_error err = {0};

        if (argc != 4) {
                (void)fprintf(stderr, "usage: sparse_image FILE SIZE KEY-ID\n");
                return 2;
        }
        if (make(argv[1], argv[2], argv[3], &err) == 0)
                return 0;
        (void)fprintf(stderr, "sparse_image: %s\n", wla_error_text(&err));
        return 1;
}
