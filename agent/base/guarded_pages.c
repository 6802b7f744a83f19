/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guarded_pages.h"

#include <openssl/crypto.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_size(void) {
        return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t in_whole_pages(size_t size) {
        size_t page = page_size();

        return (size + page - 1) / page * page;
}

void *guarded_pages_map(size_t size, bool *ret_locked) {
        size_t page = page_size();
        size_t inner_size = in_whole_pages(size);
        size_t outer_size = inner_size + 2 * page;
        uint8_t *outer = mmap(NULL, outer_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (outer == MAP_FAILED)
                return NULL;

        uint8_t *inner = outer + page;
        if (mprotect(inner, inner_size, PROT_READ | PROT_WRITE) < 0 ||
            madvise(inner, inner_size, MADV_DONTDUMP) < 0) {
                (void)munmap(outer, outer_size);
                return NULL;
        }
        /* Not mlock(), which the sanitizers make an empty success. */
        *ret_locked = mlock2(inner, inner_size, 0) == 0;
        return inner;
}

void guarded_pages_unmap(void *inner, size_t size) {
        size_t page = page_size();
        size_t inner_size = in_whole_pages(size);

        OPENSSL_cleanse(inner, inner_size);
        (void)munmap((uint8_t *)inner - page, inner_size + 2 * page);
}
