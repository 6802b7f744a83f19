/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which clusters of a disk are allocated: a bit each, and for every region (what one L2 table describes)
 * how many lie in front of it.
 *
 * Memory for parts of the disk that are holes is never touched: a sparse disk costs what it holds.
 * Threads: changed by one, then read by any.
 */

#include <stdint.h>

#include "image/disk_source.h"

struct cluster_region {
        uint64_t first_data; /* allocated clusters in front of it */
        uint64_t table;      /* its L2 table among all; where it has none, how many are in front */
};

struct cluster_set {
        uint64_t clusters;
        uint64_t regions;
        uint64_t data;   /* allocated clusters */
        uint64_t tables; /* regions that hold any */
        uint8_t *bits;
        struct cluster_region *region; /* regions + 1: the last is the sum */
};

int cluster_set_make(const struct disk_source *disk, struct cluster_set *ret,
                     struct wla_error *err) _must_check_;
void cluster_set_clear(struct cluster_set *set);

static inline bool cluster_set_has(const struct cluster_set *set, uint64_t cluster) {
        return set->bits[cluster / 8] >> cluster % 8 & 1;
}

/* The region of the table-th L2 table, and of the data-th allocated cluster. */
uint64_t cluster_set_region_of_table(const struct cluster_set *set, uint64_t table);
uint64_t cluster_set_region_of_data(const struct cluster_set *set, uint64_t data);

/* The data-th allocated cluster of the disk. */
uint64_t cluster_set_find(const struct cluster_set *set, uint64_t data);
