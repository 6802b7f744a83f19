/* SPDX-License-Identifier: Apache-2.0 */
#include "image/qcow2_source.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "image/qcow2_map.h"

/* QEMU's window for raw deflate. */
#define ZLIB_WINDOW_BITS (-12)

struct qcow2_source {
        struct disk_source file;
        struct qcow2_map map;
};

struct qcow2_reader {
        const struct qcow2_source *source;
        struct disk_reader file;
        struct qcow2_slice slice;

        /* One cluster decompressed, and what it was made of; allocated on first use. */
        uint8_t *compressed;
        uint8_t *plain;
        uint64_t plain_of; /* offset in the file; UINT64_MAX: none */
};

static size_t cluster_size(const struct qcow2_source *source) {
        return (size_t)1 << source->map.cluster_bits;
}

static void free_reader(void *self) {
        struct qcow2_reader *reader = self;

        disk_reader_close(&reader->file);
        free(reader->compressed);
        free(reader->plain);
        free(reader);
}

static int new_reader(void *self, void **ret, struct wla_error *err) {
        struct qcow2_reader *reader = calloc(1, sizeof(*reader));

        if (!reader)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        reader->source = self;
        reader->plain_of = UINT64_MAX;
        if (disk_reader_open(&reader->source->file, &reader->file, err) < 0) {
                free(reader);
                return -1;
        }
        *ret = reader;
        return 0;
}

static bool inflate_cluster(const uint8_t *from, size_t size, uint8_t *to, size_t to_size) {
        z_stream stream = {
                .next_in = (Bytef *)(uintptr_t)from,
                .avail_in = (uInt)size,
                .next_out = to,
                .avail_out = (uInt)to_size,
        };

        if (inflateInit2(&stream, ZLIB_WINDOW_BITS) != Z_OK)
                return false;
        int outcome = inflate(&stream, Z_FINISH);
        (void)inflateEnd(&stream);

        /* Padding behind the stream is usual; a cluster that is not full is not. */
        return (outcome == Z_STREAM_END || outcome == Z_BUF_ERROR) && stream.avail_out == 0;
}

static bool unzstd_cluster(const uint8_t *from, size_t size, uint8_t *to, size_t to_size) {
        ZSTD_DCtx *context = ZSTD_createDCtx();
        ZSTD_inBuffer in = {.src = from, .size = size};
        ZSTD_outBuffer out = {.dst = to, .size = to_size};
        size_t outcome = 1;

        if (!context)
                return false;
        while (out.pos < out.size && outcome != 0) {
                size_t in_before = in.pos;
                size_t out_before = out.pos;

                outcome = ZSTD_decompressStream(context, &out, &in);
                if (ZSTD_isError(outcome) || (in.pos == in_before && out.pos == out_before))
                        break;
        }
        (void)ZSTD_freeDCtx(context);
        return out.pos == out.size;
}

static int allocate(struct qcow2_reader *reader, struct wla_error *err) {
        size_t size = cluster_size(reader->source);

        if (!reader->compressed)
                reader->compressed = malloc(2 * size);
        if (!reader->plain)
                reader->plain = malloc(size);
        if (!reader->compressed || !reader->plain)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        return 0;
}

/* Leaves the cluster in reader->plain. */
static int decompress(struct qcow2_reader *reader, const struct qcow2_cluster *cluster,
                      struct wla_error *err) {
        const struct qcow2_map *map = &reader->source->map;
        size_t size = cluster_size(reader->source);

        if (reader->plain_of == cluster->offset)
                return 0;

        reader->plain_of = UINT64_MAX;
        if (allocate(reader, err) < 0 ||
            disk_reader_read(&reader->file, cluster->offset, reader->compressed,
                             cluster->compressed_size, err) < 0)
                return -1;

        bool done = map->compression == QCOW2_ZLIB
                            ? inflate_cluster(reader->compressed, cluster->compressed_size,
                                              reader->plain, size)
                            : unzstd_cluster(reader->compressed, cluster->compressed_size,
                                             reader->plain, size);
        if (!done)
                return wla_fail_hint(err, WLA_E_INPUT, "'qemu-img check' may tell more",
                                     "a compressed cluster is damaged");
        reader->plain_of = cluster->offset;
        return 0;
}

/* The end of the file may lie within the last cluster; what is missing reads as zeros. */
static int read_plain(struct qcow2_reader *reader, uint64_t offset, uint8_t *to, size_t size,
                      struct wla_error *err) {
        uint64_t file_size = reader->source->map.file_size;
        uint64_t there = offset < file_size ? file_size - offset : 0;
        size_t part = there < size ? (size_t)there : size;

        memset(to + part, 0, size - part);
        return part > 0 ? disk_reader_read(&reader->file, offset, to, part, err) : 0;
}

/* A run of clusters that lie behind each other in the file as they do on the disk. */
struct run {
        struct qcow2_cluster first;
        size_t size;
};

static int find_run(struct qcow2_reader *reader, uint64_t at, size_t size, struct run *ret,
                    struct wla_error *err) {
        const struct qcow2_map *map = &reader->source->map;
        size_t cluster = cluster_size(reader->source);
        size_t skip = at % cluster;

        if (qcow2_map_find(map, &reader->file, &reader->slice, at, &ret->first, err) < 0)
                return -1;

        ret->size = cluster - skip < size ? cluster - skip : size;
        while (ret->first.kind == QCOW2_DATA && ret->size < size) {
                struct qcow2_cluster next;

                if (qcow2_map_find(map, &reader->file, &reader->slice, at + ret->size, &next, err) <
                    0)
                        return -1;
                if (next.kind != QCOW2_DATA || next.offset != ret->first.offset + skip + ret->size)
                        break;
                ret->size += cluster < size - ret->size ? cluster : size - ret->size;
        }
        return 0;
}

static int read_disk(void *self, uint64_t at, uint8_t *to, size_t size, struct wla_error *err) {
        struct qcow2_reader *reader = self;
        size_t cluster = cluster_size(reader->source);

        while (size > 0) {
                struct run run;
                int outcome = 0;

                if (find_run(reader, at, size, &run, err) < 0)
                        return -1;

                if (run.first.kind == QCOW2_HOLE)
                        memset(to, 0, run.size);
                else if (run.first.kind == QCOW2_DATA)
                        outcome = read_plain(reader, run.first.offset + at % cluster, to, run.size,
                                             err);
                else
                        outcome = decompress(reader, &run.first, err);
                if (outcome < 0)
                        return -1;
                if (run.first.kind == QCOW2_COMPRESSED)
                        memcpy(to, reader->plain + at % cluster, run.size);

                at += run.size;
                to += run.size;
                size -= run.size;
        }
        return 0;
}

static int find_data(struct qcow2_reader *reader, uint64_t from, struct disk_range *ret,
                     struct wla_error *err) {
        const struct qcow2_map *map = &reader->source->map;
        size_t cluster = cluster_size(reader->source);
        bool found = false;

        *ret = (struct disk_range){map->virtual_size, map->virtual_size};
        for (uint64_t at = from - from % cluster; at < map->virtual_size;) {
                uint64_t unmapped = qcow2_map_unmapped(map, at);
                struct qcow2_cluster here = {.kind = QCOW2_HOLE};

                if (unmapped == 0 &&
                    qcow2_map_find(map, &reader->file, &reader->slice, at, &here, err) < 0)
                        return -1;
                if (here.kind != QCOW2_HOLE && !found) {
                        ret->start = at > from ? at : from;
                        found = true;
                } else if (here.kind == QCOW2_HOLE && found) {
                        ret->end = at;
                        return 0;
                }
                at += unmapped > 0 ? unmapped : cluster;
        }
        return 0;
}

static int next_data(void *self, uint64_t from, struct disk_range *ret, struct wla_error *err) {
        void *reader;

        if (new_reader(self, &reader, err) < 0)
                return -1;
        int outcome = find_data(reader, from, ret, err);
        free_reader(reader);
        return outcome;
}

static void close_source(void *self) {
        struct qcow2_source *source = self;

        qcow2_map_clear(&source->map);
        disk_source_close(&source->file);
        free(source);
}

static const struct disk_source_ops qcow2_ops = {
        .reader_new = new_reader,
        .read = read_disk,
        .reader_free = free_reader,
        .next_data = next_data,
        .close = close_source,
};

int qcow2_source_open(struct disk_source *file, struct disk_source *ret, struct wla_error *err) {
        struct qcow2_source *source = calloc(1, sizeof(*source));

        if (!source) {
                disk_source_close(file);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        source->file = *file;
        *file = (struct disk_source){0};
        if (qcow2_map_read(&source->file, &source->map, err) < 0) {
                close_source(source);
                return -1;
        }

        *ret = (struct disk_source){
                .ops = &qcow2_ops,
                .self = source,
                .size = source->map.virtual_size,
                .below = &source->file,
                .reader_memory = source->file.reader_memory + sizeof(struct qcow2_reader) +
                                 3 * cluster_size(source),
        };
        return 0;
}
