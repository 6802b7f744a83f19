/* SPDX-License-Identifier: Apache-2.0 */
#include "image/compact_source.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "image/cluster_set.h"
#include "image/qcow2_format.h"
#include "image/qcow2_writer.h"

#define TABLE_ITEMS (QCOW2_CLUSTER_SIZE / 8u)

struct compact_source {
        struct disk_source disk;
        struct cluster_set set;
        struct qcow2_layout layout;
};

struct compact_reader {
        const struct compact_source *source;
        struct disk_reader disk;

        /* Where the cluster behind the last one read lies. */
        uint64_t next_data;
        uint64_t next_cluster;
};

static void free_reader(void *self) {
        struct compact_reader *reader = self;

        disk_reader_close(&reader->disk);
        free(reader);
}

static int new_reader(void *self, void **ret, struct wla_error *err) {
        struct compact_reader *reader = calloc(1, sizeof(*reader));

        if (!reader)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        reader->source = self;
        reader->next_data = UINT64_MAX;
        if (disk_reader_open(&reader->source->disk, &reader->disk, err) < 0) {
                free(reader);
                return -1;
        }
        *ret = reader;
        return 0;
}

static uint64_t entry_for(uint64_t cluster) {
        return cluster * QCOW2_CLUSTER_SIZE | QCOW2_ENTRY_COPIED;
}

/* index: among the clusters of the L1 table. */
static void put_l1(const struct compact_source *source, uint64_t index, uint8_t *to) {
        const struct cluster_set *set = &source->set;

        memset(to, 0, QCOW2_CLUSTER_SIZE);
        for (uint64_t i = 0; i < TABLE_ITEMS; i++) {
                uint64_t region = index * TABLE_ITEMS + i;

                if (region >= set->regions)
                        return;
                if (set->region[region + 1].table > set->region[region].table)
                        qcow2_store64(to, i * 8,
                                      entry_for(source->layout.l2_at + set->region[region].table));
        }
}

static void put_l2(const struct compact_source *source, uint64_t table, uint8_t *to) {
        const struct cluster_set *set = &source->set;
        uint64_t region = cluster_set_region_of_table(set, table);
        uint64_t data = source->layout.data_at + set->region[region].first_data;

        memset(to, 0, QCOW2_CLUSTER_SIZE);
        for (uint64_t i = 0; i < TABLE_ITEMS; i++) {
                uint64_t cluster = region * QCOW2_REGION_CLUSTERS + i;

                if (cluster >= set->clusters)
                        return;
                if (cluster_set_has(set, cluster))
                        qcow2_store64(to, i * 8, entry_for(data++));
        }
}

static int put_metadata(const struct compact_source *source, uint64_t cluster, uint8_t *to,
                        struct wla_error *err) {
        static const struct qcow2_backing_file none = {0};
        const struct qcow2_layout *layout = &source->layout;

        if (cluster < layout->l1_at)
                return qcow2_metadata_cluster(layout, &none, cluster, to, err);
        if (cluster < layout->l2_at)
                put_l1(source, cluster - layout->l1_at, to);
        else
                put_l2(source, cluster - layout->l2_at, to);
        return 0;
}

static uint64_t find_cluster(struct compact_reader *reader, uint64_t data) {
        const struct cluster_set *set = &reader->source->set;
        uint64_t cluster;

        if (data == reader->next_data) {
                cluster = reader->next_cluster;
                while (!cluster_set_has(set, cluster))
                        cluster++;
        } else {
                cluster = cluster_set_find(set, data);
        }
        reader->next_data = data + 1;
        reader->next_cluster = cluster + 1;
        return cluster;
}

/* The last cluster of the disk may be short. */
static int read_clusters(struct compact_reader *reader, uint64_t first, uint64_t count, uint8_t *to,
                         struct wla_error *err) {
        uint64_t at = first * QCOW2_CLUSTER_SIZE;
        uint64_t size = count * QCOW2_CLUSTER_SIZE;
        uint64_t there = reader->source->disk.size - at;

        if (there > size)
                there = size;
        memset(to + there, 0, size - there);
        return disk_reader_read(&reader->disk, at, to, there, err);
}

/* data: of the first, among all allocated clusters; what lies together is read together. */
static int put_data(struct compact_reader *reader, uint64_t data, uint64_t count, uint8_t *to,
                    struct wla_error *err) {
        while (count > 0) {
                uint64_t first = find_cluster(reader, data);
                uint64_t run = 1;

                while (run < count && first + run < reader->source->set.clusters &&
                       cluster_set_has(&reader->source->set, first + run))
                        run++;
                if (read_clusters(reader, first, run, to, err) < 0)
                        return -1;

                data += run;
                count -= run;
                to += run * QCOW2_CLUSTER_SIZE;
                reader->next_data = data;
                reader->next_cluster = first + run;
        }
        return 0;
}

/* Whole clusters: whoever encrypts asks for nothing else. */
static int read_disk(void *self, uint64_t at, uint8_t *to, size_t size, struct wla_error *err) {
        struct compact_reader *reader = self;
        const struct qcow2_layout *layout = &reader->source->layout;
        uint64_t cluster = at / QCOW2_CLUSTER_SIZE;
        uint64_t end = (at + size) / QCOW2_CLUSTER_SIZE;

        if (at % QCOW2_CLUSTER_SIZE != 0 || size % QCOW2_CLUSTER_SIZE != 0)
                return wla_fail(err, WLA_E_INPUT, "%zu bytes at %ju are no whole clusters", size,
                                (uintmax_t)at);

        for (; cluster < end && cluster < layout->data_at; cluster++, to += QCOW2_CLUSTER_SIZE)
                if (put_metadata(reader->source, cluster, to, err) < 0)
                        return -1;
        return cluster < end ? put_data(reader, cluster - layout->data_at, end - cluster, to, err)
                             : 0;
}

static int next_data(void *self, uint64_t from, struct disk_range *ret, struct wla_error *err) {
        const struct compact_source *source = self;

        (void)err;
        *ret = (struct disk_range){from, source->layout.clusters * QCOW2_CLUSTER_SIZE};
        return 0;
}

static void close_source(void *self) {
        struct compact_source *source = self;

        cluster_set_clear(&source->set);
        disk_source_close(&source->disk);
        free(source);
}

static const struct disk_source_ops compact_ops = {
        .reader_new = new_reader,
        .read = read_disk,
        .reader_free = free_reader,
        .next_data = next_data,
        .close = close_source,
};

static uint64_t virtual_size_of(const struct disk_source *disk) {
        return (disk->size + DISK_SECTOR_SIZE - 1) / DISK_SECTOR_SIZE * DISK_SECTOR_SIZE;
}

/* Judges the size before anything of that size is allocated. */
static int plan(struct compact_source *source, struct wla_error *err) {
        uint64_t size = virtual_size_of(&source->disk);

        if (qcow2_layout_make(size, 0, 0, &source->layout, err) < 0 ||
            cluster_set_make(&source->disk, &source->set, err) < 0)
                return -1;
        return qcow2_layout_make(size, source->set.tables, source->set.data, &source->layout, err);
}

int compact_source_open(struct disk_source *disk, struct disk_source *ret, struct wla_error *err) {
        struct compact_source *source = calloc(1, sizeof(*source));

        if (!source) {
                disk_source_close(disk);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        source->disk = *disk;
        *disk = (struct disk_source){0};
        if (plan(source, err) < 0) {
                close_source(source);
                return -1;
        }

        *ret = (struct disk_source){
                .ops = &compact_ops,
                .self = source,
                .size = source->layout.clusters * QCOW2_CLUSTER_SIZE,
                .below = &source->disk,
                .reader_memory = source->disk.reader_memory + sizeof(struct compact_reader),
        };
        return 0;
}
