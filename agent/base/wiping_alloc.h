/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An allocator that wipes what it frees: for request bodies, and for libraries that copy them or hold what nobody else
 * shall read (nghttp2, protobuf-c, libcurl, libxml2, OpenSSL).  Ordinary memory: not locked, so never the place for a
 * plaintext key.
 *
 * Blocks are malloc(3)'s: what a library gives to free(3) was not wiped, and is no fault; and the other way round.
 *
 * Threads: any.  Failure: NULL, like malloc(3), also of sizes that no object can have.
 */

#include <stdbool.h>
#include <stddef.h>

void *wiping_malloc(size_t size);
void *wiping_calloc(size_t count, size_t size);

/* Never in place nor by moving pages: the old block is wiped.  On failure it stays as it was.  With a size of 0 it is
 * freed, and the answer is NULL, as of OPENSSL_realloc(3); so it is without a block. */
void *wiping_realloc(void *block, size_t size);

char *wiping_strdup(const char *text);

/* Accepts NULL. */
void wiping_free(void *block);
