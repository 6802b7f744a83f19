/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A disk to read from, whatever it lies in: a raw file or device, a qcow2, ciphertext of ours, or the
 * qcow2 that is being made of another disk.
 *
 * Ownership: disk_source_close() ends a source and, where one reads from another, that one too.
 * Threads:   a source is not changed by reading; every thread has a reader of its own.
 * Failure:   WLA_E_INPUT for what is malformed, has become shorter or has changed while it was read,
 *            WLA_E_UNSUPPORTED, WLA_E_SYSTEM, WLA_E_BUSY without memory.
 */

#include <stddef.h>
#include <stdint.h>

#include "wlagent/error.h"

/* Buffers that are aligned to this are read past the page cache, where the file system can. */
#define DISK_ALIGNMENT 4096u

struct disk_range {
        uint64_t start; /* bytes */
        uint64_t end;
};

struct disk_source_ops {
        int (*reader_new)(void *self, void **ret, struct wla_error *err);
        int (*read)(void *reader, uint64_t at, uint8_t *to, size_t size, struct wla_error *err);
        void (*reader_free)(void *reader);

        /* The first range at or behind from that is allocated; both ends at the disk's size: none. */
        int (*next_data)(void *self, uint64_t from, struct disk_range *ret, struct wla_error *err);

        /* Fails when what was read is not the same any more.  NULL: the one below is asked. */
        int (*check_unchanged)(void *self, struct wla_error *err);
        void (*close)(void *self);
};

struct disk_source {
        const struct disk_source_ops *ops; /* NULL: closed */
        void *self;
        uint64_t size;                   /* bytes, not 0 */
        size_t reader_memory;            /* about what a reader allocates */
        const struct disk_source *below; /* where it reads from another one */
};

static inline void disk_source_close(struct disk_source *source) {
        if (source->ops)
                source->ops->close(source->self);
        *source = (struct disk_source){0};
}

static inline int disk_source_check_unchanged(const struct disk_source *source,
                                              struct wla_error *err) {
        while (!source->ops->check_unchanged)
                source = source->below;
        return source->ops->check_unchanged(source->self, err);
}

#define _cleanup_disk_source_ __attribute__((cleanup(disk_source_close)))

struct disk_reader {
        const struct disk_source_ops *ops;
        void *self;
};

static inline int disk_reader_open(const struct disk_source *source, struct disk_reader *ret,
                                   struct wla_error *err) {
        struct disk_reader reader = {.ops = source->ops};

        if (source->ops->reader_new(source->self, &reader.self, err) < 0)
                return -1;
        *ret = reader;
        return 0;
}

/* What lies behind the end of the disk must not be asked for. */
static inline int disk_reader_read(const struct disk_reader *reader, uint64_t at, uint8_t *to,
                                   size_t size, struct wla_error *err) {
        return reader->ops->read(reader->self, at, to, size, err);
}

static inline void disk_reader_close(struct disk_reader *reader) {
        if (reader->ops)
                reader->ops->reader_free(reader->self);
        *reader = (struct disk_reader){0};
}

/* Raw content of a regular file or a block device.  fd is taken, also on failure.  A size that is no
 * multiple of 512 is one byte after the other all the same. */
int raw_source_open(int fd, struct disk_source *ret, struct wla_error *err) _must_check_;
