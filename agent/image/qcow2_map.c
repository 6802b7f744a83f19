/* SPDX-License-Identifier: Apache-2.0 */
#include "image/qcow2_map.h"

#include <stdlib.h>

#include "base/file.h"
#include "image/qcow2_format.h"
#include "image/qcow2_writer.h"

/* 8 MiB of table: 512 TiB with clusters of 64 KiB. */
#define L1_ENTRIES_MAX (UINT64_C(1) << 20)

#define ENTRY_SIZE 8u

static int fail_damaged(struct wla_error *err, const char *what) {
        return wla_fail_hint(err, WLA_E_INPUT, "'qemu-img check' may tell more", "%s", what);
}

static int check_features(const uint8_t *header, struct wla_error *err) {
        uint64_t incompatible = qcow2_load64(header, QCOW2_AT_INCOMPATIBLE);

        /* Dirty: only refcounts may be wrong, and nobody reads them here. */
        if (incompatible & ~(QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_COMPRESSION))
                return wla_fail_hint(err, WLA_E_UNSUPPORTED,
                                     "'qemu-img convert -O qcow2' makes a plain one of it",
                                     "the image uses features that are not known (0x%jx)",
                                     (uintmax_t)incompatible);
        return 0;
}

static int check_header(const uint8_t *header, struct wla_error *err) {
        uint32_t version = qcow2_load32(header, QCOW2_AT_VERSION);
        uint32_t bits = qcow2_load32(header, QCOW2_AT_CLUSTER_BITS);

        if (qcow2_load32(header, QCOW2_AT_MAGIC) != QCOW2_MAGIC)
                return wla_fail(err, WLA_E_INPUT, "this is no qcow2 image");
        if (version != 2 && version != 3)
                return wla_fail(err, WLA_E_UNSUPPORTED, "qcow2 version %u", version);
        if (qcow2_load64(header, QCOW2_AT_BACKING_OFFSET) != 0)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED,
                                     "'qemu-img convert -O qcow2' joins them",
                                     "the image needs a backing file");
        if (qcow2_load32(header, QCOW2_AT_CRYPT_METHOD) != 0)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, "decrypt it with qemu-img first",
                                     "the image is encrypted already");
        if (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX)
                return fail_damaged(err, "the size of the clusters is out of bounds");
        if (version == 2)
                return 0;
        if (qcow2_load32(header, QCOW2_AT_HEADER_SIZE) < QCOW2_V3_HEADER_SIZE)
                return fail_damaged(err, "the header is too short");
        return check_features(header, err);
}

static int read_compression(const uint8_t *header, struct qcow2_map *map, struct wla_error *err) {
        uint8_t type = 0;

        if (map->version_3 && qcow2_load32(header, QCOW2_AT_HEADER_SIZE) > QCOW2_AT_COMPRESSION)
                type = header[QCOW2_AT_COMPRESSION];
        if (type > QCOW2_ZSTD)
                return wla_fail(err, WLA_E_UNSUPPORTED, "compression of an unknown type");
        map->compression = type;
        return 0;
}

static uint64_t cluster_size(const struct qcow2_map *map) {
        return UINT64_C(1) << map->cluster_bits;
}

/* Of the disk that one L2 table describes. */
static unsigned region_bits(const struct qcow2_map *map) {
        return 2 * map->cluster_bits - 3;
}

static bool inside(const struct qcow2_map *map, uint64_t offset, uint64_t size) {
        return offset <= map->file_size && size <= map->file_size - offset;
}

/* Big endian tables become ours in place. */
static void convert(uint64_t *entries, size_t count) {
        for (size_t i = 0; i < count; i++)
                entries[i] = be64toh(entries[i]);
}

static int read_l1(const struct disk_reader *file, const uint8_t *header, struct qcow2_map *map,
                   struct wla_error *err) {
        uint64_t region = UINT64_C(1) << region_bits(map);
        uint64_t needed = (map->virtual_size + region - 1) >> region_bits(map);
        uint64_t offset = qcow2_load64(header, QCOW2_AT_L1_OFFSET);

        if (needed > L1_ENTRIES_MAX)
                return wla_fail(err, WLA_E_UNSUPPORTED, "the L1 table has more than %ju entries",
                                (uintmax_t)L1_ENTRIES_MAX);
        if (qcow2_load32(header, QCOW2_AT_L1_SIZE) < needed || offset % cluster_size(map) != 0 ||
            offset == 0 || !inside(map, offset, needed * ENTRY_SIZE))
                return fail_damaged(err, "the L1 table is not where the header says");

        map->l1_entries = needed;
        map->l1 = malloc(needed * ENTRY_SIZE);
        if (!map->l1)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (disk_reader_read(file, offset, (uint8_t *)map->l1, needed * ENTRY_SIZE, err) < 0)
                return -1;
        convert(map->l1, needed);
        return 0;
}

static int read_map(const struct disk_reader *file, struct qcow2_map *map, struct wla_error *err) {
        uint8_t header[QCOW2_HEADER_SIZE_MAX];

        if (map->file_size < sizeof(header))
                return wla_fail(err, WLA_E_INPUT, "this is no qcow2 image");
        if (disk_reader_read(file, 0, header, sizeof(header), err) < 0 ||
            check_header(header, err) < 0)
                return -1;

        map->cluster_bits = qcow2_load32(header, QCOW2_AT_CLUSTER_BITS);
        map->version_3 = qcow2_load32(header, QCOW2_AT_VERSION) == 3;
        map->virtual_size = qcow2_load64(header, QCOW2_AT_VIRTUAL_SIZE);
        if (map->virtual_size == 0 || map->virtual_size > QCOW2_VIRTUAL_SIZE_MAX)
                return wla_fail(err, WLA_E_UNSUPPORTED, "a disk of %ju bytes",
                                (uintmax_t)map->virtual_size);
        if (read_compression(header, map, err) < 0)
                return -1;
        return read_l1(file, header, map, err);
}

int qcow2_map_read(const struct disk_source *file, struct qcow2_map *ret, struct wla_error *err) {
        struct qcow2_map map = {.file_size = file->size};
        struct disk_reader reader;

        if (disk_reader_open(file, &reader, err) < 0)
                return -1;

        int outcome = read_map(&reader, &map, err);
        disk_reader_close(&reader);
        if (outcome < 0) {
                qcow2_map_clear(&map);
                return -1;
        }
        *ret = map;
        return 0;
}

void qcow2_map_clear(struct qcow2_map *map) {
        free(map->l1);
        *map = (struct qcow2_map){0};
}

static uint64_t l2_offset(const struct qcow2_map *map, uint64_t at) {
        return map->l1[at >> region_bits(map)] & QCOW2_ENTRY_OFFSET;
}

uint64_t qcow2_map_unmapped(const struct qcow2_map *map, uint64_t at) {
        uint64_t region = UINT64_C(1) << region_bits(map);

        return l2_offset(map, at) != 0 ? 0 : region - at % region;
}

static size_t slice_entries(const struct qcow2_map *map) {
        uint64_t entries = cluster_size(map) / ENTRY_SIZE;

        return entries < QCOW2_SLICE_ENTRIES ? (size_t)entries : QCOW2_SLICE_ENTRIES;
}

static int load_entry(const struct qcow2_map *map, const struct disk_reader *file,
                      struct qcow2_slice *slice, uint64_t at, uint64_t *ret,
                      struct wla_error *err) {
        uint64_t table = l2_offset(map, at);
        uint64_t index = (at >> map->cluster_bits) & (cluster_size(map) / ENTRY_SIZE - 1);
        size_t count = slice_entries(map);
        uint64_t start = table + index / count * count * ENTRY_SIZE;

        if (table % cluster_size(map) != 0 || !inside(map, table, cluster_size(map)))
                return fail_damaged(err, "an L2 table is outside the file");

        if (slice->at != start) {
                slice->at = 0;
                if (disk_reader_read(file, start, (uint8_t *)slice->entries, count * ENTRY_SIZE,
                                     err) < 0)
                        return -1;
                convert(slice->entries, count);
                slice->at = start;
        }
        *ret = slice->entries[index % count];
        return 0;
}

/* The offset has as many bits as the number of sectors leaves. */
static struct qcow2_cluster compressed_cluster(const struct qcow2_map *map, uint64_t entry) {
        unsigned shift = 62 - (map->cluster_bits - 8);
        uint64_t offset = entry & ((UINT64_C(1) << shift) - 1);
        uint64_t sectors = (entry & (QCOW2_ENTRY_COMPRESSED - 1)) >> shift;
        uint64_t size = (sectors + 1) * 512 - offset % 512;

        if (offset < map->file_size && size > map->file_size - offset)
                size = map->file_size - offset;
        return (struct qcow2_cluster){
                .kind = QCOW2_COMPRESSED,
                .offset = offset,
                .compressed_size = (size_t)size,
        };
}

int qcow2_map_find(const struct qcow2_map *map, const struct disk_reader *file,
                   struct qcow2_slice *slice, uint64_t at, struct qcow2_cluster *ret,
                   struct wla_error *err) {
        uint64_t entry;

        *ret = (struct qcow2_cluster){.kind = QCOW2_HOLE};
        if (l2_offset(map, at) == 0)
                return 0;
        if (load_entry(map, file, slice, at, &entry, err) < 0)
                return -1;

        if (entry & QCOW2_ENTRY_COMPRESSED) {
                *ret = compressed_cluster(map, entry);
        } else if (!(map->version_3 && (entry & QCOW2_ENTRY_ZERO)) &&
                   (entry & QCOW2_ENTRY_OFFSET) != 0) {
                *ret = (struct qcow2_cluster){
                        .kind = QCOW2_DATA,
                        .offset = entry & QCOW2_ENTRY_OFFSET,
                };
                if (ret->offset % cluster_size(map) != 0)
                        return fail_damaged(err, "a cluster does not begin at one");
        }

        /* The last cluster of a file may be short. */
        if (ret->kind != QCOW2_HOLE && !inside(map, ret->offset, 1))
                return fail_damaged(err, "a cluster is outside the file");
        return 0;
}
