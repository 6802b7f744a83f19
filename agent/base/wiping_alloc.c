/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wiping_alloc.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* In front of every block; keeps the block as aligned as malloc(3) does. */
struct block_header {
        alignas(max_align_t) size_t size;
};

static struct block_header *header_of(void *block) {
        return (struct block_header *)block - 1;
}

void *wiping_malloc(size_t size) {
        size_t total;

        if (__builtin_add_overflow(size, sizeof(struct block_header), &total))
                return NULL;

        struct block_header *header = malloc(total);
        if (!header)
                return NULL;

        header->size = size;
        return header + 1;
}

void *wiping_calloc(size_t count, size_t size) {
        size_t total;

        if (__builtin_mul_overflow(count, size, &total))
                return NULL;

        void *block = wiping_malloc(total);
        if (block)
                memset(block, 0, total);
        return block;
}

void *wiping_realloc(void *block, size_t size) {
        void *larger = wiping_malloc(size);

        if (!larger || !block)
                return larger;

        size_t old_size = header_of(block)->size;
        memcpy(larger, block, old_size < size ? old_size : size);
        wiping_free(block);
        return larger;
}

void wiping_free(void *block) {
        if (!block)
                return;

        struct block_header *header = header_of(block);
        explicit_bzero(header, sizeof(*header) + header->size);
        free(header);
}
