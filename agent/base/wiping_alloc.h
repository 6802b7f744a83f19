/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An allocator that wipes what it frees, for request bodies and for libraries that copy them
 * (nghttp2, protobuf-c).  Ordinary memory: not locked, so never the place for a plaintext key.
 *
 * Threads: any.  Failure: NULL, like malloc(3).
 */

#include <stddef.h>

void *wiping_malloc(size_t size);
void *wiping_calloc(size_t count, size_t size);

/* The old block is wiped when the data moves; on failure it stays as it was. */
void *wiping_realloc(void *block, size_t size);

/* Accepts NULL. */
void wiping_free(void *block);
