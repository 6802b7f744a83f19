/* SPDX-License-Identifier: Apache-2.0 */
#include "image/qcow2_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/qcow2_format.h"

#define CLUSTER_BITS         16u
#define REFCOUNT_ORDER       4u /* 16 bits */
#define REFCOUNT_BLOCK_ITEMS (QCOW2_CLUSTER_SIZE / 2u)
#define TABLE_ITEMS          (QCOW2_CLUSTER_SIZE / 8u)
#define BACKING_NAME_MAX     1023u
#define BACKING_NAME_AT      512u
#define ALIGNMENT            4096u

static uint64_t divide_up(uint64_t value, uint64_t unit) {
        return value / unit + (value % unit != 0);
}

/* The clusters that hold refcounts are counted by refcounts too. */
static uint64_t count_refcount_blocks(uint64_t other_clusters) {
        uint64_t blocks = 1;

        while (blocks * REFCOUNT_BLOCK_ITEMS < other_clusters + blocks)
                blocks++;
        return blocks;
}

/* For the whole disk, so that the table never has to move. */
static uint64_t count_refcount_table(uint64_t virtual_size) {
        uint64_t data = divide_up(virtual_size, QCOW2_CLUSTER_SIZE);
        uint64_t tables = divide_up(data, TABLE_ITEMS);
        uint64_t l1 = divide_up(tables, TABLE_ITEMS);
        uint64_t blocks = divide_up(data + tables + l1, REFCOUNT_BLOCK_ITEMS - 1) + 1;

        return divide_up(blocks, TABLE_ITEMS);
}

int qcow2_layout_make(uint64_t virtual_size, uint64_t l2_tables, uint64_t data_clusters,
                      struct qcow2_layout *ret, struct wla_error *err) {
        if (virtual_size == 0 || virtual_size > QCOW2_VIRTUAL_SIZE_MAX ||
            virtual_size % DISK_SECTOR_SIZE != 0)
                return wla_fail(err, WLA_E_INPUT, "a disk of %ju bytes cannot be a qcow2",
                                (uintmax_t)virtual_size);

        uint64_t regions = divide_up(virtual_size, QCOW2_REGION_SIZE);
        uint64_t l1 = divide_up(regions, TABLE_ITEMS);
        uint64_t refcount_table = count_refcount_table(virtual_size);
        uint64_t blocks = count_refcount_blocks(1 + refcount_table + l1 + l2_tables +
                                                data_clusters);

        *ret = (struct qcow2_layout){
                .virtual_size = virtual_size,
                .regions = regions,
                .l2_tables = l2_tables,
                .data_clusters = data_clusters,
                .refcount_blocks_at = 1 + refcount_table,
                .l1_at = 1 + refcount_table + blocks,
                .l2_at = 1 + refcount_table + blocks + l1,
                .data_at = 1 + refcount_table + blocks + l1 + l2_tables,
                .clusters = 1 + refcount_table + blocks + l1 + l2_tables + data_clusters,
        };
        return 0;
}

static int put_backing(const struct qcow2_backing_file *backing, uint8_t *header,
                       struct wla_error *err) {
        const char *format = image_content_name(backing->format);
        size_t size = strlen(backing->name);
        uint8_t *extension = header +
                             (backing->version2 ? QCOW2_V2_HEADER_SIZE : QCOW2_HEADER_SIZE_MAX);

        if (size == 0 || size > BACKING_NAME_MAX)
                return wla_fail(err, WLA_E_INPUT, "a name of %zu bytes cannot be a backing file",
                                size);

        qcow2_store64(header, QCOW2_AT_BACKING_OFFSET, BACKING_NAME_AT);
        qcow2_store32(header, QCOW2_AT_BACKING_SIZE, (uint32_t)size);
        memcpy(header + BACKING_NAME_AT, backing->name, size);

        qcow2_store32(extension, 0, QCOW2_EXTENSION_BACKING_FORMAT);
        qcow2_store32(extension, 4, (uint32_t)strlen(format));
        memcpy(extension + 8, format, strlen(format));
        return 0;
}

/* The features that follow in version 3 are none; version 2 has refcounts of 16 bits, too. */
static void put_version3_fields(const struct qcow2_backing_file *backing, uint8_t *to) {
        if (backing->version2)
                return;
        qcow2_store32(to, QCOW2_AT_REFCOUNT_ORDER, REFCOUNT_ORDER);
        qcow2_store32(to, QCOW2_AT_HEADER_SIZE, QCOW2_HEADER_SIZE_MAX);
}

static int put_header(const struct qcow2_layout *layout, const struct qcow2_backing_file *backing,
                      uint8_t *to, struct wla_error *err) {
        qcow2_store32(to, QCOW2_AT_MAGIC, QCOW2_MAGIC);
        qcow2_store32(to, QCOW2_AT_VERSION, backing->version2 ? 2 : 3);
        qcow2_store32(to, QCOW2_AT_CLUSTER_BITS, CLUSTER_BITS);
        qcow2_store64(to, QCOW2_AT_VIRTUAL_SIZE, layout->virtual_size);
        qcow2_store32(to, QCOW2_AT_L1_SIZE, (uint32_t)layout->regions);
        qcow2_store64(to, QCOW2_AT_L1_OFFSET, layout->l1_at * QCOW2_CLUSTER_SIZE);
        qcow2_store64(to, QCOW2_AT_REFCOUNT_OFFSET, QCOW2_CLUSTER_SIZE);
        qcow2_store32(to, QCOW2_AT_REFCOUNT_CLUSTERS, (uint32_t)(layout->refcount_blocks_at - 1));
        put_version3_fields(backing, to);
        return backing->name ? put_backing(backing, to, err) : 0;
}

static void put_refcount_table(const struct qcow2_layout *layout, uint64_t index, uint8_t *to) {
        uint64_t blocks = layout->l1_at - layout->refcount_blocks_at;
        uint64_t first = (index - 1) * TABLE_ITEMS;

        for (uint64_t i = 0; i < TABLE_ITEMS && first + i < blocks; i++)
                qcow2_store64(to, i * 8,
                              (layout->refcount_blocks_at + first + i) * QCOW2_CLUSTER_SIZE);
}

static void put_refcount_block(const struct qcow2_layout *layout, uint64_t index, uint8_t *to) {
        uint64_t first = (index - layout->refcount_blocks_at) * REFCOUNT_BLOCK_ITEMS;

        for (uint64_t i = 0; i < REFCOUNT_BLOCK_ITEMS && first + i < layout->clusters; i++)
                to[i * 2 + 1] = 1;
}

int qcow2_metadata_cluster(const struct qcow2_layout *layout,
                           const struct qcow2_backing_file *backing, uint64_t index,
                           uint8_t to[static QCOW2_CLUSTER_SIZE], struct wla_error *err) {
        memset(to, 0, QCOW2_CLUSTER_SIZE);
        if (index == 0)
                return put_header(layout, backing, to, err);

        if (index < layout->refcount_blocks_at)
                put_refcount_table(layout, index, to);
        else if (index < layout->l1_at)
                put_refcount_block(layout, index, to);
        return 0;
}

static int write_cluster(int fd, const uint8_t *cluster, uint64_t index, struct wla_error *err) {
        size_t done = 0;

        while (done < QCOW2_CLUSTER_SIZE) {
                ssize_t written = pwrite(fd, cluster + done, QCOW2_CLUSTER_SIZE - done,
                                         (off_t)(index * QCOW2_CLUSTER_SIZE + done));

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return wla_fail_errno(err, errno, "cannot write an empty qcow2");
                if (written == 0)
                        return wla_fail(err, WLA_E_SYSTEM,
                                        "an empty qcow2 of %ju bytes does not fit",
                                        (uintmax_t)(index + 1) * QCOW2_CLUSTER_SIZE);
                done += (size_t)written;
        }
        return 0;
}

int qcow2_write_empty(int fd, uint64_t virtual_size, const struct qcow2_backing_file *backing,
                      struct wla_error *err) {
        struct qcow2_layout layout;

        if (qcow2_layout_make(virtual_size, 0, 0, &layout, err) < 0)
                return -1;

        /* Aligned for those who write past the page cache. */
        _cleanup_free_ uint8_t *cluster = aligned_alloc(ALIGNMENT, QCOW2_CLUSTER_SIZE);
        if (!cluster)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        for (uint64_t i = 0; i < layout.clusters; i++)
                if (qcow2_metadata_cluster(&layout, backing, i, cluster, err) < 0 ||
                    write_cluster(fd, cluster, i, err) < 0)
                        return -1;
        return 0;
}

int qcow2_upgrade(uint8_t head[static QCOW2_UPGRADE_SIZE], const struct qcow2_backing_file *backing,
                  struct wla_error *err) {
        uint8_t to[QCOW2_UPGRADE_SIZE] = {0};

        memcpy(to, head, QCOW2_V2_HEADER_SIZE);
        qcow2_store32(to, QCOW2_AT_VERSION, 3);
        qcow2_store64(to, QCOW2_AT_BACKING_OFFSET, 0);
        qcow2_store32(to, QCOW2_AT_BACKING_SIZE, 0);
        put_version3_fields(backing, to);
        if (backing->name && put_backing(backing, to, err) < 0)
                return -1;
        memcpy(head, to, sizeof(to));
        return 0;
}

int qcow2_full_size(uint64_t virtual_size, uint64_t *ret, struct wla_error *err) {
        struct qcow2_layout layout;

        if (qcow2_layout_make(virtual_size, divide_up(virtual_size, QCOW2_REGION_SIZE),
                              divide_up(virtual_size, QCOW2_CLUSTER_SIZE), &layout, err) < 0)
                return -1;

        *ret = layout.clusters * QCOW2_CLUSTER_SIZE;
        return 0;
}
