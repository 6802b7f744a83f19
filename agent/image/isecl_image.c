/* SPDX-License-Identifier: Apache-2.0 */
#include "image/isecl_image.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC_SIZE     12u
#define VERSION_AT     16u
#define VERSION_SIZE   4u
#define NONCE_AT       20u
#define ALGORITHM_AT   32u
#define ALGORITHM_SIZE 12u

static const char magic[MAGIC_SIZE] = "ISecL-VMC";
static const char version[VERSION_SIZE] = "V1";
static const char algorithm[ALGORITHM_SIZE] = "GCM-256";

bool isecl_image_claimed(const uint8_t *head, size_t size) {
        size_t length = strlen(magic);

        return size >= length && memcmp(head, magic, length) == 0;
}

void isecl_image_header(const uint8_t nonce[AES256_GCM_NONCE], uint8_t ret[ISECL_HEADER_SIZE]) {
        const uint32_t offset = htole32(ISECL_HEADER_SIZE);

        memcpy(ret, magic, MAGIC_SIZE);
        memcpy(ret + MAGIC_SIZE, &offset, sizeof(offset));
        memcpy(ret + VERSION_AT, version, VERSION_SIZE);
        memcpy(ret + NONCE_AT, nonce, AES256_GCM_NONCE);
        memcpy(ret + ALGORITHM_AT, algorithm, ALGORITHM_SIZE);
}

/* Little endian, at an offset of any alignment. */
static uint32_t data_offset_of(const uint8_t *header) {
        uint32_t offset;

        memcpy(&offset, header + MAGIC_SIZE, sizeof(offset));
        return le32toh(offset);
}

/* Version 8 is RFC 9562's for the application's own bits. */
static void uuid_of_digest(const uint8_t digest[32], struct uuid *ret) {
        (void)snprintf(ret->text, sizeof(ret->text),
                       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                       digest[0], digest[1], digest[2], digest[3], digest[4], digest[5],
                       (digest[6] & 0x0fu) | 0x80u, digest[7], (digest[8] & 0x3fu) | 0x80u,
                       digest[9], digest[10], digest[11], digest[12], digest[13], digest[14],
                       digest[15]);
}

static int derive_identity(const uint8_t *header, const uint8_t *tag, uint64_t file_size,
                           struct uuid *ret, struct wla_error *err) {
        uint8_t bytes[ISECL_HEADER_SIZE + AES256_GCM_TAG + sizeof(uint64_t)];
        uint8_t digest[32];
        uint64_t size = htole64(file_size);

        memcpy(bytes, header, ISECL_HEADER_SIZE);
        memcpy(bytes + ISECL_HEADER_SIZE, tag, AES256_GCM_TAG);
        memcpy(bytes + ISECL_HEADER_SIZE + AES256_GCM_TAG, &size, sizeof(size));
        if (EVP_Digest(bytes, sizeof(bytes), digest, NULL, EVP_sha256(), NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run SHA-256");
        uuid_of_digest(digest, ret);
        return 0;
}

static int check_sizes(uint64_t offset, uint64_t file_size, struct wla_error *err) {
        if (file_size < ISECL_HEADER_SIZE + AES256_GCM_TAG)
                return wla_fail(err, WLA_E_INPUT, "%llu bytes do not hold an ISecL-VMC image",
                                (unsigned long long)file_size);
        if (offset < ISECL_HEADER_SIZE || offset > file_size - AES256_GCM_TAG)
                return wla_fail(err, WLA_E_INPUT,
                                "the ISecL-VMC header lets the data begin at byte %llu of %llu",
                                (unsigned long long)offset, (unsigned long long)file_size);

        uint64_t size = file_size - AES256_GCM_TAG - offset;
        if (size == 0)
                return wla_fail(err, WLA_E_INPUT, "the ISecL-VMC image holds no data");
        if (size > ISECL_PLAIN_MAX)
                return wla_fail(err, WLA_E_INPUT, "%llu bytes are more than a GCM message can have",
                                (unsigned long long)size);
        return 0;
}

int isecl_image_check(const uint8_t header[ISECL_HEADER_SIZE], const uint8_t tag[AES256_GCM_TAG],
                      uint64_t file_size, struct isecl_image *ret, struct wla_error *err) {
        struct isecl_image image = {0};

        if (memcmp(header, magic, MAGIC_SIZE) != 0)
                return wla_fail(err, WLA_E_INPUT, "this is not an ISecL-VMC image");
        if (memcmp(header + VERSION_AT, version, VERSION_SIZE) != 0)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the ISecL-VMC image is not of version V1");
        if (memcmp(header + ALGORITHM_AT, algorithm, ALGORITHM_SIZE) != 0)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the ISecL-VMC image's algorithm is not GCM-256");

        image.data_offset = data_offset_of(header);
        if (check_sizes(image.data_offset, file_size, err) < 0)
                return -1;
        image.size = file_size - AES256_GCM_TAG - image.data_offset;
        memcpy(image.nonce, header + NONCE_AT, AES256_GCM_NONCE);
        memcpy(image.tag, tag, AES256_GCM_TAG);
        if (derive_identity(header, tag, file_size, &image.identity, err) < 0)
                return -1;

        *ret = image;
        return 0;
}

static int read_at(int fd, uint8_t *to, size_t size, uint64_t at, struct wla_error *err) {
        ssize_t got;

        do
                got = pread(fd, to, size, (off_t)at);
        while (got < 0 && errno == EINTR);
        if (got < 0)
                return wla_fail_errno(err, errno, "reading the image");
        if ((size_t)got != size)
                return wla_fail(err, WLA_E_INPUT, "the image ends within its header or tag");
        return 0;
}

int isecl_image_read(int fd, struct isecl_image *ret, struct wla_error *err) {
        uint8_t header[ISECL_HEADER_SIZE];
        uint8_t tag[AES256_GCM_TAG];
        struct stat status;

        if (fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the image");
        if (status.st_size < (off_t)(ISECL_HEADER_SIZE + AES256_GCM_TAG))
                return wla_fail(err, WLA_E_INPUT, "%lld bytes do not hold an ISecL-VMC image",
                                (long long)status.st_size);

        uint64_t size = (uint64_t)status.st_size;
        if (read_at(fd, header, sizeof(header), 0, err) < 0 ||
            read_at(fd, tag, sizeof(tag), size - sizeof(tag), err) < 0)
                return -1;
        return isecl_image_check(header, tag, size, ret, err);
}
