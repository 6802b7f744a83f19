/* SPDX-License-Identifier: Apache-2.0 */
#include "image/disk_content.h"

#include <endian.h>
#include <string.h>

#define DISK_SECTOR 512u

/* Where the fields of a qcow2 header are. */
enum {
        QCOW2_VERSION = 4,
        QCOW2_BACKING_OFFSET = 8,
        QCOW2_BACKING_SIZE = 16,
        QCOW2_CLUSTER_BITS = 20,
        QCOW2_SIZE = 24,
        QCOW2_CRYPT_METHOD = 32,
        QCOW2_V2_END = 72,
        QCOW2_INCOMPATIBLE = 72,
        QCOW2_HEADER_LENGTH = 100,
        QCOW2_V3_END = 104,
};

/* Bits of incompatible_features. */
#define QCOW2_DIRTY         (UINT64_C(1) << 0)
#define QCOW2_EXTERNAL_DATA (UINT64_C(1) << 2)
#define QCOW2_COMPRESSION   (UINT64_C(1) << 3)
#define QCOW2_EXTENDED_L2   (UINT64_C(1) << 4)

static const uint8_t qcow2_magic[4] = {'Q', 'F', 'I', 0xfb};

static uint32_t be32_at(const uint8_t *head, size_t at) {
        uint32_t value;

        memcpy(&value, head + at, sizeof(value));
        return be32toh(value);
}

static uint64_t be64_at(const uint8_t *head, size_t at) {
        uint64_t value;

        memcpy(&value, head + at, sizeof(value));
        return be64toh(value);
}

/* Version 3 adds features and says how long its header is. */
static int check_version_3(const uint8_t *head, size_t head_size, struct wla_error *err) {
        if (head_size < QCOW2_V3_END || be32_at(head, QCOW2_HEADER_LENGTH) < QCOW2_V3_END)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 in the image has a short header");

        uint64_t features = be64_at(head, QCOW2_INCOMPATIBLE);
        if (features & QCOW2_EXTERNAL_DATA)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 in the image keeps its data in another file");
        if (features & ~(QCOW2_DIRTY | QCOW2_COMPRESSION | QCOW2_EXTENDED_L2))
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 in the image is corrupt or has unknown features");
        return 0;
}

static int check_qcow2(const uint8_t *head, size_t head_size, struct disk_content *ret,
                       struct wla_error *err) {
        if (head_size < QCOW2_V2_END)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 in the image has a short header");

        uint32_t version = be32_at(head, QCOW2_VERSION);
        if (version != 2 && version != 3)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the image holds a qcow2 of version %u",
                                version);
        if (be64_at(head, QCOW2_BACKING_OFFSET) != 0 || be32_at(head, QCOW2_BACKING_SIZE) != 0)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 in the image has a backing file");
        if (be32_at(head, QCOW2_CRYPT_METHOD) != 0)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the qcow2 in the image is encrypted");
        if (be32_at(head, QCOW2_CLUSTER_BITS) < 9 || be32_at(head, QCOW2_CLUSTER_BITS) > 21)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 in the image has impossible clusters");
        if (version == 3 && check_version_3(head, head_size, err) < 0)
                return -1;

        uint64_t size = be64_at(head, QCOW2_SIZE);
        if (size == 0 || size > INT64_MAX || size % DISK_SECTOR != 0)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 in the image has an impossible size");
        *ret = (struct disk_content){.content = IMAGE_CONTENT_QCOW2, .virtual_size = size};
        return 0;
}

int disk_content_check(const uint8_t *head, size_t head_size, uint64_t size,
                       struct disk_content *ret, struct wla_error *err) {
        if (size == 0 || size > INT64_MAX - DISK_SECTOR)
                return wla_fail(err, WLA_E_INPUT, "a disk of %llu bytes is impossible",
                                (unsigned long long)size);
        if (head_size >= sizeof(qcow2_magic) && memcmp(head, qcow2_magic, sizeof(qcow2_magic)) == 0)
                return check_qcow2(head, head_size, ret, err);

        *ret = (struct disk_content){
                .content = IMAGE_CONTENT_RAW,
                .virtual_size = (size + DISK_SECTOR - 1) / DISK_SECTOR * DISK_SECTOR,
        };
        return 0;
}
