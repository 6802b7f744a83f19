/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The bytes of a LUKS2 header for those who change them: the JSON put in place in both copies, and the
 * checksums made right again. */

#include <endian.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BINARY_SIZE     4096u
#define SIZE_AT         8u /* of the metadata, big endian */
#define CHECKSUM_AT     448u
#define CHECKSUM_LENGTH 64u

static inline uint64_t header_metadata_size(const uint8_t *bytes) {
        uint64_t size;

        memcpy(&size, bytes + SIZE_AT, sizeof(size));
        return be64toh(size);
}

/* false when bytes do not hold both copies. */
static inline bool header_repair(uint8_t *bytes, size_t size) {
        uint64_t metadata_size = size < BINARY_SIZE ? 0 : header_metadata_size(bytes);

        if (metadata_size < BINARY_SIZE || metadata_size > size / 2)
                return false;
        for (int i = 0; i < 2; i++) {
                uint8_t *copy = bytes + (uint64_t)i * metadata_size;

                memset(copy + CHECKSUM_AT, 0, CHECKSUM_LENGTH);
                uint8_t digest[SHA256_DIGEST_LENGTH];
                (void)SHA256(copy, metadata_size, digest);
                memcpy(copy + CHECKSUM_AT, digest, sizeof(digest));
        }
        return true;
}

static inline const char *header_json(const uint8_t *bytes) {
        return (const char *)bytes + BINARY_SIZE;
}

/* false when the text does not fit. */
static inline bool header_set_json(uint8_t *bytes, size_t size, const char *json, size_t length) {
        uint64_t metadata_size = header_metadata_size(bytes);

        if (length >= metadata_size - BINARY_SIZE)
                return false;
        for (int i = 0; i < 2; i++) {
                uint8_t *area = bytes + (uint64_t)i * metadata_size + BINARY_SIZE;

                memset(area, 0, metadata_size - BINARY_SIZE);
                memcpy(area, json, length);
        }
        return header_repair(bytes, size);
}
