/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wiping_alloc.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What malloc(3) refuses as well; asked here, because a sanitizer's malloc(3) ends the program instead. */
static bool is_too_large(size_t size) {
        return size > PTRDIFF_MAX;
}

void *wiping_malloc(size_t size) {
        return is_too_large(size) ? NULL : malloc(size);
}

void *wiping_calloc(size_t count, size_t size) {
        size_t total;

        if (__builtin_mul_overflow(count, size, &total) || is_too_large(total))
                return NULL;
        return calloc(1, total);
}

void *wiping_realloc(void *block, size_t size) {
        void *moved = size > 0 ? wiping_malloc(size) : NULL;

        if (!block || (!moved && size > 0))
                return moved;

        size_t old_size = malloc_usable_size(block);
        if (moved)
                memcpy(moved, block, old_size < size ? old_size : size);
        wiping_free(block);
        return moved;
}

char *wiping_strdup(const char *text) {
        size_t size = strlen(text) + 1;
        char *copy = wiping_malloc(size);

        return copy ? memcpy(copy, text, size) : NULL;
}

void wiping_free(void *block) {
        if (!block)
                return;
        /* All that malloc(3) gave: nobody has noted how much was asked for. */
        explicit_bzero(block, malloc_usable_size(block));
        free(block);
}
