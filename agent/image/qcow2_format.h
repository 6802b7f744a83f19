/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of the qcow2 format that wlagent reads and writes.
 *
 * Source: QEMU, docs/interop/qcow2.rst, versions 2 and 3.  All fields are big endian.
 */

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define QCOW2_MAGIC UINT32_C(0x514649fb) /* "QFI" 0xfb */

/* Offsets of the header's fields. */
enum {
        QCOW2_AT_MAGIC = 0,
        QCOW2_AT_VERSION = 4,
        QCOW2_AT_BACKING_OFFSET = 8,
        QCOW2_AT_BACKING_SIZE = 16,
        QCOW2_AT_CLUSTER_BITS = 20,
        QCOW2_AT_VIRTUAL_SIZE = 24,
        QCOW2_AT_CRYPT_METHOD = 32,
        QCOW2_AT_L1_SIZE = 36,
        QCOW2_AT_L1_OFFSET = 40,
        QCOW2_AT_REFCOUNT_OFFSET = 48,
        QCOW2_AT_REFCOUNT_CLUSTERS = 56,
        QCOW2_AT_SNAPSHOTS = 60,
        QCOW2_AT_SNAPSHOTS_OFFSET = 64,
        QCOW2_V2_HEADER_SIZE = 72,
        QCOW2_AT_INCOMPATIBLE = 72,
        QCOW2_AT_COMPATIBLE = 80,
        QCOW2_AT_AUTOCLEAR = 88,
        QCOW2_AT_REFCOUNT_ORDER = 96,
        QCOW2_AT_HEADER_SIZE = 100,
        QCOW2_V3_HEADER_SIZE = 104,
        QCOW2_AT_COMPRESSION = 104, /* one byte; 0 zlib, 1 zstd */
        QCOW2_HEADER_SIZE_MAX = 112,
};

#define QCOW2_INCOMPATIBLE_DIRTY         (UINT64_C(1) << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT       (UINT64_C(1) << 1)
#define QCOW2_INCOMPATIBLE_EXTERNAL_DATA (UINT64_C(1) << 2)
#define QCOW2_INCOMPATIBLE_COMPRESSION   (UINT64_C(1) << 3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2   (UINT64_C(1) << 4)

/* Consistent bitmaps; they tell of clusters and stay true. */
#define QCOW2_AUTOCLEAR_BITMAPS (UINT64_C(1) << 0)

#define QCOW2_EXTENSION_HEAD           8u /* magic, length */
#define QCOW2_EXTENSION_END            UINT32_C(0)
#define QCOW2_EXTENSION_BACKING_FORMAT UINT32_C(0xe2792aca)
#define QCOW2_EXTENSION_DATA_FILE      UINT32_C(0x44415441)
#define QCOW2_EXTENSION_ENCRYPTION     UINT32_C(0x0537be77)

#define QCOW2_CLUSTER_BITS_MIN 9u
#define QCOW2_CLUSTER_BITS_MAX 21u

/* Entries of L1 and L2 tables. */
#define QCOW2_ENTRY_COPIED     (UINT64_C(1) << 63) /* its refcount is 1 */
#define QCOW2_ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ENTRY_ZERO       (UINT64_C(1) << 0)
#define QCOW2_ENTRY_OFFSET     UINT64_C(0x00fffffffffffe00)

static inline uint32_t qcow2_load32(const uint8_t *bytes, size_t at) {
        uint32_t value;

        memcpy(&value, bytes + at, sizeof(value));
        return be32toh(value);
}

static inline uint64_t qcow2_load64(const uint8_t *bytes, size_t at) {
        uint64_t value;

        memcpy(&value, bytes + at, sizeof(value));
        return be64toh(value);
}

static inline void qcow2_store32(uint8_t *bytes, size_t at, uint32_t value) {
        value = htobe32(value);
        memcpy(bytes + at, &value, sizeof(value));
}

static inline void qcow2_store64(uint8_t *bytes, size_t at, uint64_t value) {
        value = htobe64(value);
        memcpy(bytes + at, &value, sizeof(value));
}
