/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* qcow2 images (clusters of 64 KiB) as wlagent writes them: where everything is follows from how many
 * clusters there are, so an image is written from front to back in one pass.
 *
 *   cluster 0     header, backing format and name
 *   then          refcount table, as large as the whole disk will need
 *                 refcount blocks, each cluster of this file counted once
 *                 L1 table, L2 tables in the order of the disk, data in the order of the disk
 *
 * Threads: pure but for qcow2_write_empty().
 * Failure: WLA_E_INPUT for sizes and names that are out of bounds, WLA_E_SYSTEM when writing fails.
 * Source:  QEMU, docs/interop/qcow2.rst.
 */

#include <stdint.h>

#include "image/token.h"

#define QCOW2_CLUSTER_SIZE 65536u

/* Of the disk that one L2 table describes: 512 MiB. */
#define QCOW2_REGION_CLUSTERS (QCOW2_CLUSTER_SIZE / 8u)
#define QCOW2_REGION_SIZE     ((uint64_t)QCOW2_CLUSTER_SIZE * QCOW2_REGION_CLUSTERS)

/* 64 TiB. */
#define QCOW2_VIRTUAL_SIZE_MAX (UINT64_C(1) << 46)

struct qcow2_layout {
        uint64_t virtual_size; /* bytes */
        uint64_t regions;      /* entries of the L1 table */
        uint64_t l2_tables;
        uint64_t data_clusters;

        /* Counted in clusters from the begin of the file. */
        uint64_t refcount_blocks_at;
        uint64_t l1_at;
        uint64_t l2_at;
        uint64_t data_at;
        uint64_t clusters; /* of the whole file */
};

int qcow2_layout_make(uint64_t virtual_size, uint64_t l2_tables, uint64_t data_clusters,
                      struct qcow2_layout *ret, struct wla_error *err) _must_check_;

struct qcow2_backing_file {
        const char *name; /* NULL: none */
        enum image_content format;
        bool version2; /* instead of 3; why: image/layer_room.h */
};

/* Fills one of the clusters in front of layout->l1_at. */
int qcow2_metadata_cluster(const struct qcow2_layout *layout,
                           const struct qcow2_backing_file *backing, uint64_t index,
                           uint8_t to[static QCOW2_CLUSTER_SIZE],
                           struct wla_error *err) _must_check_;

/* Writes an image without any data to fd, from offset 0.  Every byte that has a meaning is written: fd may
 * be a device whose unwritten sectors read as garbage.  Not synchronised. */
int qcow2_write_empty(int fd, uint64_t virtual_size, const struct qcow2_backing_file *backing,
                      struct wla_error *err) _must_check_;

/* Bytes from the begin of an image that qcow2_upgrade() changes: one sector of a volume. */
#define QCOW2_UPGRADE_SIZE 4096u

/* Makes the head of an image of version 2 that of version 3, with that backing file, or none.  Every cluster
 * means what it meant.  The head has been read by qcow2_backing_read(), and nothing else of it is kept:
 * version 2 has no other extension that wlagent leaves in place.  On failure it is as it was. */
int qcow2_upgrade(uint8_t head[static QCOW2_UPGRADE_SIZE], const struct qcow2_backing_file *backing,
                  struct wla_error *err) _must_check_;

/* Bytes that an image of this size takes when every cluster has been written once, and none was freed:
 * what a device must have that QEMU cannot grow. */
int qcow2_full_size(uint64_t virtual_size, uint64_t *ret, struct wla_error *err) _must_check_;
