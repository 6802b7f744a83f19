/* SPDX-License-Identifier: Apache-2.0 */
#include "base/openssl_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static void wipe_and_free(void *block, const char *file, int line) {
        (void)file;
        (void)line;

        if (!block)
                return;
        /* All that malloc(3) gave: OpenSSL does not tell how much it asked for. */
        OPENSSL_cleanse(block, malloc_usable_size(block));
        free(block);
}

/* Never in place nor by moving pages: the old block is wiped.  Without a block or a size, and without memory, as
 * OPENSSL_realloc(3). */
static void *move(void *block, size_t size, const char *file, int line) {
        void *moved = size > 0 ? malloc(size) : NULL;

        if (!block || (!moved && size > 0))
                return moved;

        size_t old_size = malloc_usable_size(block);
        if (moved)
                memcpy(moved, block, old_size < size ? old_size : size);
        wipe_and_free(block, file, line);
        return moved;
}

int openssl_memory_init(struct wla_error *err) {
        /* A function that is NULL stays OpenSSL's. */
        if (CRYPTO_set_mem_functions(NULL, move, wipe_and_free) != 1)
                return wla_fail_hint(err, WLA_E_SYSTEM,
                                     "start it without LD_PRELOAD; if that is no help, report this",
                                     "OpenSSL was in use before it could be told to wipe memory");
        return 0;
}
