/* SPDX-License-Identifier: Apache-2.0 */
#include "image/disk_content.h"

#include <string.h>

#include "image/qcow2_format.h"

/* What QEMU can open by itself. */
#define INCOMPATIBLE_TAKEN \
        (QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_COMPRESSION | QCOW2_INCOMPATIBLE_EXTENDED_L2)

/* Version 3 adds features and says how long its header is. */
static int check_version_3(const uint8_t *head, size_t head_size, struct wla_error *err) {
        if (head_size < QCOW2_V3_HEADER_SIZE ||
            qcow2_load32(head, QCOW2_AT_HEADER_SIZE) < QCOW2_V3_HEADER_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 in the image has a short header");

        uint64_t features = qcow2_load64(head, QCOW2_AT_INCOMPATIBLE);
        if (features & QCOW2_INCOMPATIBLE_EXTERNAL_DATA)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 in the image keeps its data in another file");
        if (features & ~INCOMPATIBLE_TAKEN)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 in the image is corrupt or has unknown features");
        return 0;
}

static int check_qcow2(const uint8_t *head, size_t head_size, struct disk_content *ret,
                       struct wla_error *err) {
        if (head_size < QCOW2_V2_HEADER_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 in the image has a short header");

        uint32_t version = qcow2_load32(head, QCOW2_AT_VERSION);
        if (version != 2 && version != 3)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the image holds a qcow2 of version %u",
                                version);
        if (qcow2_load64(head, QCOW2_AT_BACKING_OFFSET) != 0 ||
            qcow2_load32(head, QCOW2_AT_BACKING_SIZE) != 0)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the qcow2 in the image has a backing file");
        if (qcow2_load32(head, QCOW2_AT_CRYPT_METHOD) != 0)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the qcow2 in the image is encrypted");
        uint32_t cluster_bits = qcow2_load32(head, QCOW2_AT_CLUSTER_BITS);
        if (cluster_bits < QCOW2_CLUSTER_BITS_MIN || cluster_bits > QCOW2_CLUSTER_BITS_MAX)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 in the image has impossible clusters");
        if (version == 3 && check_version_3(head, head_size, err) < 0)
                return -1;

        uint64_t size = qcow2_load64(head, QCOW2_AT_VIRTUAL_SIZE);
        if (size == 0 || size > INT64_MAX || size % DISK_SECTOR_SIZE != 0)
                return wla_fail(err, WLA_E_INPUT, "the qcow2 in the image has an impossible size");
        *ret = (struct disk_content){.content = IMAGE_CONTENT_QCOW2, .virtual_size = size};
        return 0;
}

int disk_content_check(const uint8_t *head, size_t head_size, uint64_t size,
                       struct disk_content *ret, struct wla_error *err) {
        if (size == 0 || size > INT64_MAX - DISK_SECTOR_SIZE)
                return wla_fail(err, WLA_E_INPUT, "a disk of %llu bytes is impossible",
                                (unsigned long long)size);
        if (head_size >= sizeof(uint32_t) && qcow2_load32(head, QCOW2_AT_MAGIC) == QCOW2_MAGIC)
                return check_qcow2(head, head_size, ret, err);

        *ret = (struct disk_content){
                .content = IMAGE_CONTENT_RAW,
                .virtual_size = (size + DISK_SECTOR_SIZE - 1) / DISK_SECTOR_SIZE * DISK_SECTOR_SIZE,
        };
        return 0;
}
