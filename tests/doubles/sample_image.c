/* SPDX-License-Identifier: Apache-2.0 */

/* sample_image OUT SIZE VIRTUAL-SIZE KEY-ID CONTENT [DISK]: makes an encrypted image as wlagent image
 * encrypt does, under the 32-byte key on standard input: of random bytes, or of a disk that the command
 * would not take.  Prints the UUID of its header. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/file.h"
#include "image/header_writer.h"
#include "image/sector_cipher.h"
#include "image/volume_key.h"

static int read_key(struct wla_secret **ret, struct wla_error *err) {
        if (wla_secret_new(32, ret, err) < 0)
                return -1;
        if (read(STDIN_FILENO, wla_secret_fill(*ret), 32) != 32)
                return wla_fail(err, WLA_E_INPUT, "32 bytes of key on standard input");
        return 0;
}

static int make_data(const char *path, uint64_t size, int *ret_fd, struct wla_error *err) {
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        uint8_t block[4096];

        if (fd < 0)
                return wla_fail(err, WLA_E_SYSTEM, "cannot write %s", path);
        *ret_fd = fd;
        for (uint64_t at = 0; at < size; at += sizeof(block))
                if (getrandom(block, sizeof(block), 0) != (ssize_t)sizeof(block) ||
                    pwrite(fd, block, sizeof(block), (off_t)at) != (ssize_t)sizeof(block))
                        return wla_fail(err, WLA_E_SYSTEM, "cannot fill %s", path);
        return 0;
}

/* The first sector is that of the disk. */
static int put_disk(const char *disk, const struct wla_secret *key, int to_fd,
                    struct wla_error *err) {
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        _cleanup_close_ int fd = disk ? open(disk, O_RDONLY | O_CLOEXEC) : -1;
        uint8_t sector[IMAGE_SECTOR_SIZE] = {0};

        if (!disk)
                return 0;
        if (fd < 0 || read(fd, sector, sizeof(sector)) <= 0)
                return wla_fail(err, WLA_E_INPUT, "cannot read %s", disk);
        if (sector_cipher_new(key, sizeof(sector), SECTOR_ENCRYPT, &cipher, err) < 0 ||
            sector_cipher_run(cipher, 0, sector, sizeof(sector), err) < 0)
                return -1;
        if (pwrite(to_fd, sector, sizeof(sector), 0) != (ssize_t)sizeof(sector))
                return wla_fail(err, WLA_E_SYSTEM, "cannot write the disk");
        return 0;
}

static int write_header(const char *path, const struct header_content *content,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf header = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
        char name[4096];

        if (header_write(content, &header, err) < 0)
                return -1;
        (void)snprintf(name, sizeof(name), "%s.header", path);
        _cleanup_close_ int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, header.data, header.size) != (ssize_t)header.size)
                return wla_fail(err, WLA_E_SYSTEM, "cannot write %s", name);
        return 0;
}

static int make(char **argv, struct wla_error *err) {
        struct image_token token = {.size = strtoull(argv[2], NULL, 10),
                                    .virtual_size = strtoull(argv[3], NULL, 10),
                                    .content = strcmp(argv[5], "qcow2") == 0 ? IMAGE_CONTENT_QCOW2
                                                                             : IMAGE_CONTENT_RAW};
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(65536);
        _cleanup_secret_ struct wla_secret *kek = NULL;
        _cleanup_secret_ struct wla_secret *key = NULL;
        _cleanup_close_ int fd = -1;
        struct header_content content = {.token = &json};

        if (key_id_parse(argv[4], strlen(argv[4]), &token.key_id, err) < 0 ||
            read_key(&kek, err) < 0 || volume_key_generate(&key, err) < 0 ||
            uuid_generate(&content.uuid, err) < 0 || make_data(argv[1], token.size, &fd, err) < 0 ||
            put_disk(argv[6], key, fd, err) < 0 ||
            image_probe(key, &content.uuid, fd, token.size, token.probe, err) < 0 ||
            image_key_wrap(kek, &content.uuid, key, &token, err) < 0 ||
            image_token_write(&token, &json, err) < 0)
                return -1;
        content.volume_key = key;
        if (write_header(argv[1], &content, err) < 0)
                return -1;
        (void)printf("%s\n", content.uuid.text);
        return 0;
}

int main(int argc, char **argv) {
        struct wla_error err = {0};

        if (argc != 6 && argc != 7)
                return 2;
        if (wla_secret_heap_init(true, &err) < 0 || make(argv, &err) < 0) {
                (void)fprintf(stderr, "sample_image: %s\n", wla_error_text(&err));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
