/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where the clusters of a qcow2 image are: its header and tables, for qcow2_source.c.
 *
 * Threads: a map is not changed after qcow2_map_read(); each thread brings a cache of its own.
 */

#include "image/disk_source.h"

enum qcow2_compression {
        QCOW2_ZLIB,
        QCOW2_ZSTD,
};

struct qcow2_map {
        unsigned cluster_bits;
        bool version_3;
        enum qcow2_compression compression;
        uint64_t virtual_size;
        uint64_t file_size;
        uint64_t l1_entries;
        uint64_t *l1; /* host byte order */
};

enum qcow2_cluster_kind {
        QCOW2_HOLE, /* or zeros */
        QCOW2_DATA,
        QCOW2_COMPRESSED,
};

struct qcow2_cluster {
        enum qcow2_cluster_kind kind;
        uint64_t offset;        /* in the file, bytes */
        size_t compressed_size; /* at most: the stream ends somewhere inside */
};

/* A part of one L2 table. */
#define QCOW2_SLICE_ENTRIES 512u

struct qcow2_slice {
        uint64_t at; /* of its first byte in the file; 0: none is held */
        uint64_t entries[QCOW2_SLICE_ENTRIES];
};

int qcow2_map_read(const struct disk_source *file, struct qcow2_map *ret,
                   struct wla_error *err) _must_check_;
void qcow2_map_clear(struct qcow2_map *map);

/* The cluster that holds byte at of the disk. */
int qcow2_map_find(const struct qcow2_map *map, const struct disk_reader *file,
                   struct qcow2_slice *slice, uint64_t at, struct qcow2_cluster *ret,
                   struct wla_error *err) _must_check_;

/* How many bytes from at on have no L2 table; 0: there is one. */
uint64_t qcow2_map_unmapped(const struct qcow2_map *map, uint64_t at);
