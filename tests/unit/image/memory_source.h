/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A disk in memory, with holes where its map says so. */

#include <stdlib.h>
#include <string.h>

#include "image/disk_source.h"

struct memory_disk {
        const uint8_t *bytes;
        uint64_t size;
        const struct disk_range *data; /* in order; NULL: everything is allocated */
        size_t ranges;
        uint64_t fail_at; /* reading this byte fails; 0: none does */
        bool changed;
        unsigned closed;
};

static inline int memory_reader_new(void *self, void **ret, struct wla_error *err) {
        *ret = malloc(1);
        if (!*ret)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        /* The reader is the disk; the byte shows readers that are not ended. */
        free(*ret);
        *ret = self;
        return 0;
}

static inline int memory_read(void *reader, uint64_t at, uint8_t *to, size_t size,
                              struct wla_error *err) {
        const struct memory_disk *disk = reader;

        if (at > disk->size || size > disk->size - at)
                abort();
        if (disk->fail_at > 0 && at <= disk->fail_at && disk->fail_at < at + size)
                return wla_fail(err, WLA_E_SYSTEM, "byte %ju is damaged", (uintmax_t)disk->fail_at);
        memcpy(to, disk->bytes + at, size);
        return 0;
}

static inline void memory_reader_free(void *reader) {
        (void)reader;
}

static inline int memory_next_data(void *self, uint64_t from, struct disk_range *ret,
                                   struct wla_error *err) {
        const struct memory_disk *disk = self;

        (void)err;
        *ret = (struct disk_range){from, disk->size};
        if (!disk->data)
                return 0;
        for (size_t i = 0; i < disk->ranges; i++)
                if (disk->data[i].end > from) {
                        *ret = disk->data[i];
                        if (ret->start < from)
                                ret->start = from;
                        return 0;
                }
        ret->start = disk->size;
        return 0;
}

static inline int memory_check_unchanged(void *self, struct wla_error *err) {
        const struct memory_disk *disk = self;

        return disk->changed ? wla_fail(err, WLA_E_INPUT, "the disk has changed") : 0;
}

static inline void memory_close(void *self) {
        struct memory_disk *disk = self;

        disk->closed++;
}

static inline struct disk_source memory_source(struct memory_disk *disk) {
        static const struct disk_source_ops ops = {
                .reader_new = memory_reader_new,
                .read = memory_read,
                .reader_free = memory_reader_free,
                .next_data = memory_next_data,
                .check_unchanged = memory_check_unchanged,
                .close = memory_close,
        };

        return (struct disk_source){.ops = &ops, .self = disk, .size = disk->size};
}
