/* SPDX-License-Identifier: Apache-2.0 */
#include "image/cluster_set.h"

#include <stdlib.h>

#include "image/qcow2_writer.h"

#define BITS 8u

static uint64_t divide_up(uint64_t value, uint64_t unit) {
        return value / unit + (value % unit != 0);
}

static void add_range(struct cluster_set *set, const struct disk_range *range) {
        uint64_t first = range->start / QCOW2_CLUSTER_SIZE;
        uint64_t end = divide_up(range->end, QCOW2_CLUSTER_SIZE);

        for (uint64_t i = first; i < end; i++)
                set->bits[i / BITS] |= (uint8_t)(1u << i % BITS);
}

static void count_regions(struct cluster_set *set) {
        for (uint64_t i = 0; i < set->regions; i++) {
                uint64_t before = set->data;

                set->region[i] = (struct cluster_region){set->data, set->tables};
                for (uint64_t j = i * QCOW2_REGION_CLUSTERS;
                     j < (i + 1) * QCOW2_REGION_CLUSTERS && j < set->clusters; j += BITS)
                        set->data += (uint64_t)__builtin_popcount(set->bits[j / BITS]);
                set->tables += set->data > before;
        }
        set->region[set->regions] = (struct cluster_region){set->data, set->tables};
}

static int fill(const struct disk_source *disk, struct cluster_set *set, struct wla_error *err) {
        for (uint64_t at = 0; at < disk->size;) {
                struct disk_range range;

                if (disk->ops->next_data(disk->self, at, &range, err) < 0)
                        return -1;
                add_range(set, &range);
                at = range.end > at ? range.end : disk->size;
        }
        count_regions(set);
        return 0;
}

int cluster_set_make(const struct disk_source *disk, struct cluster_set *ret,
                     struct wla_error *err) {
        uint64_t clusters = divide_up(disk->size, QCOW2_CLUSTER_SIZE);
        struct cluster_set set = {
                .clusters = clusters,
                .regions = divide_up(clusters, QCOW2_REGION_CLUSTERS),
        };

        /* Zeroed by the kernel, page by page as they are written to. */
        set.bits = calloc(divide_up(clusters, BITS), 1);
        set.region = calloc(set.regions + 1, sizeof(*set.region));
        if (!set.bits || !set.region) {
                cluster_set_clear(&set);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        if (fill(disk, &set, err) < 0) {
                cluster_set_clear(&set);
                return -1;
        }
        *ret = set;
        return 0;
}

void cluster_set_clear(struct cluster_set *set) {
        free(set->bits);
        free(set->region);
        *set = (struct cluster_set){0};
}

/* The last region that begins at or in front of value, by the member that is asked for. */
static uint64_t search(const struct cluster_set *set, uint64_t value, bool by_table) {
        uint64_t low = 0;
        uint64_t high = set->regions;

        while (high - low > 1) {
                uint64_t middle = low + (high - low) / 2;
                const struct cluster_region *region = &set->region[middle];

                if ((by_table ? region->table : region->first_data) <= value)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

uint64_t cluster_set_region_of_table(const struct cluster_set *set, uint64_t table) {
        return search(set, table, true);
}

uint64_t cluster_set_region_of_data(const struct cluster_set *set, uint64_t data) {
        return search(set, data, false);
}

uint64_t cluster_set_find(const struct cluster_set *set, uint64_t data) {
        uint64_t region = cluster_set_region_of_data(set, data);
        uint64_t left = data - set->region[region].first_data;
        uint64_t cluster = region * QCOW2_REGION_CLUSTERS;

        for (;; cluster++)
                if (cluster_set_has(set, cluster) && left-- == 0)
                        return cluster;
}
