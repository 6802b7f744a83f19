/* SPDX-License-Identifier: Apache-2.0 */
#include "image/cipher_source.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "image/sector_cipher.h"
#include "image/token.h"

/* For what does not begin and end at sectors: tables of a qcow2. */
#define BOUNCE_SIZE 65536u

struct cipher_source {
        struct disk_source ciphertext;
        const struct wla_secret *volume_key;
};

struct cipher_reader {
        struct disk_reader ciphertext;
        struct sector_cipher *cipher;
        uint8_t *bounce;
};

static void free_reader(void *self) {
        struct cipher_reader *reader = self;

        disk_reader_close(&reader->ciphertext);
        sector_cipher_free(reader->cipher);
        if (reader->bounce)
                explicit_bzero(reader->bounce, BOUNCE_SIZE);
        free(reader->bounce);
        free(reader);
}

static int new_reader(void *self, void **ret, struct wla_error *err) {
        const struct cipher_source *source = self;
        struct cipher_reader *reader = calloc(1, sizeof(*reader));

        if (reader)
                reader->bounce = aligned_alloc(DISK_ALIGNMENT, BOUNCE_SIZE);
        if (!reader || !reader->bounce) {
                free(reader);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        if (disk_reader_open(&source->ciphertext, &reader->ciphertext, err) < 0 ||
            sector_cipher_new(source->volume_key, IMAGE_SECTOR_SIZE, SECTOR_DECRYPT,
                              &reader->cipher, err) < 0) {
                free_reader(reader);
                return -1;
        }
        *ret = reader;
        return 0;
}

static int read_sectors(struct cipher_reader *reader, uint64_t at, uint8_t *to, size_t size,
                        struct wla_error *err) {
        if (disk_reader_read(&reader->ciphertext, at, to, size, err) < 0)
                return -1;
        return sector_cipher_run(reader->cipher, at, to, size, err);
}

/* Reads as much as begins at at and lies within the bounce buffer. */
static int read_part(struct cipher_reader *reader, uint64_t at, uint8_t *to, size_t size,
                     size_t *ret_done, struct wla_error *err) {
        size_t skip = at % IMAGE_SECTOR_SIZE;
        size_t part = size < BOUNCE_SIZE - skip ? size : BOUNCE_SIZE - skip;
        size_t sectors = (skip + part + IMAGE_SECTOR_SIZE - 1) / IMAGE_SECTOR_SIZE;

        if (read_sectors(reader, at - skip, reader->bounce, sectors * IMAGE_SECTOR_SIZE, err) < 0)
                return -1;
        memcpy(to, reader->bounce + skip, part);
        *ret_done = part;
        return 0;
}

static int read_disk(void *self, uint64_t at, uint8_t *to, size_t size, struct wla_error *err) {
        struct cipher_reader *reader = self;

        if (at % IMAGE_SECTOR_SIZE == 0 && size % IMAGE_SECTOR_SIZE == 0)
                return read_sectors(reader, at, to, size, err);

        while (size > 0) {
                size_t done;

                if (read_part(reader, at, to, size, &done, err) < 0)
                        return -1;
                at += done;
                to += done;
                size -= done;
        }
        return 0;
}

/* Holes of ciphertext are not holes of the plaintext. */
static int next_data(void *self, uint64_t from, struct disk_range *ret, struct wla_error *err) {
        const struct cipher_source *source = self;

        (void)err;
        *ret = (struct disk_range){from, source->ciphertext.size};
        return 0;
}

static void close_source(void *self) {
        struct cipher_source *source = self;

        disk_source_close(&source->ciphertext);
        free(source);
}

static const struct disk_source_ops cipher_ops = {
        .reader_new = new_reader,
        .read = read_disk,
        .reader_free = free_reader,
        .next_data = next_data,
        .close = close_source,
};

int cipher_source_open(struct disk_source *ciphertext, const struct wla_secret *volume_key,
                       struct disk_source *ret, struct wla_error *err) {
        struct cipher_source *source = calloc(1, sizeof(*source));
        uint64_t size = ciphertext->size;

        if (!source) {
                disk_source_close(ciphertext);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        *source = (struct cipher_source){.ciphertext = *ciphertext, .volume_key = volume_key};
        *ciphertext = (struct disk_source){0};
        if (size % IMAGE_SECTOR_SIZE != 0) {
                close_source(source);
                return wla_fail(err, WLA_E_INPUT, "%ju bytes are no whole sectors",
                                (uintmax_t)size);
        }

        *ret = (struct disk_source){
                .ops = &cipher_ops,
                .self = source,
                .size = size,
                .below = &source->ciphertext,
                .reader_memory = source->ciphertext.reader_memory + BOUNCE_SIZE,
        };
        return 0;
}
