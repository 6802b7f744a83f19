/* SPDX-License-Identifier: Apache-2.0 */
#include "base/openssl_memory.h"

#include <openssl/crypto.h>

#include "base/wiping_alloc.h"

static void wipe_and_free(void *block, const char *file, int line) {
        (void)file;
        (void)line;
        wiping_free(block);
}

static void *move(void *block, size_t size, const char *file, int line) {
        (void)file;
        (void)line;
        return wiping_realloc(block, size);
}

int openssl_memory_init(struct wla_error *err) {
        /* A function that is NULL stays OpenSSL's: malloc(3), with which wiping_alloc.h gets along. */
        if (CRYPTO_set_mem_functions(NULL, move, wipe_and_free) != 1)
                return wla_fail_hint(err, WLA_E_SYSTEM,
                                     "start it without LD_PRELOAD; if that is no help, report this",
                                     "OpenSSL was in use before it could be told to wipe memory");
        return 0;
}
