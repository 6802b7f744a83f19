/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Memory for plaintext keys: locked, excluded from core dumps, between guard pages, wiped.
 *
 * It is OpenSSL's secure heap, or pages of each secret's own; one call at start-up makes it, before the first
 * thread.
 * Plaintext keys exist nowhere else.  tools/plaintext-zones lists the files that may look inside.
 *
 * Ownership: wla_secret_new() gives the secret to the caller; consumers get it as const and can
 *            neither free nor keep it.
 * Threads:   allocation and release from any thread; one secret is used by one thread at a time.
 * Failure:   WLA_E_BUSY when there is no more locked memory, WLA_E_SYSTEM when locking is refused.
 */

#include <stdint.h>

#include "wlagent/error.h"

struct wla_secret;

struct wla_bytes {
        const uint8_t *data;
        size_t size;
};

/* Makes the secure heap.  Fails when the kernel refuses to lock it, unless allow_unlocked. */
int wla_secret_heap_init(bool allow_unlocked, struct wla_error *err) _must_check_;

/* Instead of the heap, for a process in which libcryptsetup opens keyslots: OpenSSL from 3.2 takes the memory of
 * Argon2 (providers/implementations/kdfs/argon2.c), hundreds of MiB, from the secure heap where there is one,
 * and from nowhere else.  Fails like wla_secret_heap_init(). */
int wla_secret_pages_init(bool allow_unlocked, struct wla_error *err) _must_check_;

/* Whether the heap is locked into memory, or the pages are. */
bool wla_secret_heap_locked(void);

/* Bytes of the heap in use, and its size. */
size_t wla_secret_heap_used(void);
size_t wla_secret_heap_size(void);

/* size is 1..65536 bytes; the content is zero. */
int wla_secret_new(size_t size, struct wla_secret **ret, struct wla_error *err) _must_check_;

/* A second one with the same content. */
int wla_secret_copy(const struct wla_secret *secret, struct wla_secret **ret,
                    struct wla_error *err) _must_check_;

/* Read access, valid while the secret lives. */
struct wla_bytes wla_secret_view(const struct wla_secret *secret);

/* Write access, for the one who makes the plaintext. */
uint8_t *wla_secret_fill(struct wla_secret *secret);

/* Shortens the secret and wipes what is cut off; size must not exceed the present one. */
void wla_secret_truncate(struct wla_secret *secret, size_t size);

/* Wipes and frees.  Accepts and returns NULL. */
struct wla_secret *wla_secret_free(struct wla_secret *secret);

static inline void wla_secret_freep(struct wla_secret **secret) {
        *secret = wla_secret_free(*secret);
}

#define _cleanup_secret_ __attribute__((cleanup(wla_secret_freep)))
