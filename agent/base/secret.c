/* SPDX-License-Identifier: Apache-2.0 */
#include "base/secret.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>

#include "base/guarded_pages.h"

/* Room for a hundred opened keys and the replies in flight; it counts against LimitMEMLOCK=. */
#define HEAP_SIZE       (256u * 1024u)
#define HEAP_MIN_BLOCK  64u
#define SECRET_SIZE_MAX 65536u

struct wla_secret {
        size_t size;
        size_t in_pages; /* all of it, when it has pages of its own; else 0 */
        uint8_t data[];
};

static bool heap_locked;

enum pages {
        PAGES_NONE, /* secrets are in the heap */
        PAGES_LOCKED,
        PAGES_MAYBE_LOCKED,
};

/* Set before the first thread. */
static enum pages pages;

static int fail_lock(size_t size, struct wla_error *err) {
        return wla_fail_hint(
                err, WLA_E_SYSTEM,
                "raise LimitMEMLOCK= of the service, or 'ulimit -l', to 1 MiB or more; "
                "AllowUnlockedMemory=yes accepts that keys may be swapped to disk",
                "the kernel refuses to lock %zu KiB of memory for keys", size / 1024);
}

int wla_secret_heap_init(bool allow_unlocked, struct wla_error *err) {
        int outcome = CRYPTO_secure_malloc_init(HEAP_SIZE, HEAP_MIN_BLOCK);

        if (outcome == 0)
                return wla_fail(err, WLA_E_SYSTEM, "cannot make the secure heap for keys");

        heap_locked = outcome == 1;
        if (heap_locked || allow_unlocked)
                return 0;

        (void)CRYPTO_secure_malloc_done();
        return fail_lock(HEAP_SIZE, err);
}

int wla_secret_pages_init(bool allow_unlocked, struct wla_error *err) {
        bool locked = false;
        void *trial = guarded_pages_map(SECRET_SIZE_MAX, &locked);

        if (!trial)
                return wla_fail(err, WLA_E_SYSTEM, "cannot map memory for keys");
        guarded_pages_unmap(trial, SECRET_SIZE_MAX);
        if (!locked && !allow_unlocked)
                return fail_lock(SECRET_SIZE_MAX, err);

        pages = allow_unlocked ? PAGES_MAYBE_LOCKED : PAGES_LOCKED;
        heap_locked = locked;
        return 0;
}

bool wla_secret_heap_locked(void) {
        return heap_locked;
}

size_t wla_secret_heap_used(void) {
        return CRYPTO_secure_used();
}

size_t wla_secret_heap_size(void) {
        return HEAP_SIZE;
}

static struct wla_secret *new_in_heap(size_t size) {
        struct wla_secret *secret = OPENSSL_secure_zalloc(size);

        if (!secret || CRYPTO_secure_allocated(secret))
                return secret;
        /* Without a heap, OpenSSL hands out ordinary memory. */
        OPENSSL_secure_clear_free(secret, size);
        return NULL;
}

static struct wla_secret *new_in_pages(size_t size) {
        bool locked = false;
        struct wla_secret *secret = guarded_pages_map(size, &locked);

        if (secret && !locked && pages == PAGES_LOCKED) {
                guarded_pages_unmap(secret, size);
                return NULL;
        }
        if (secret)
                secret->in_pages = size;
        return secret;
}

int wla_secret_new(size_t size, struct wla_secret **ret, struct wla_error *err) {
        assert(size > 0);

        if (size > SECRET_SIZE_MAX)
                return wla_fail(err, WLA_E_INPUT, "a secret of %zu bytes is too large", size);

        struct wla_secret *secret = pages == PAGES_NONE ? new_in_heap(sizeof(*secret) + size)
                                                        : new_in_pages(sizeof(*secret) + size);
        if (!secret)
                return wla_fail_hint(err, WLA_E_BUSY, "try again when other requests have finished",
                                     "the locked memory for keys is exhausted");

        secret->size = size;
        *ret = secret;
        return 0;
}

int wla_secret_copy(const struct wla_secret *secret, struct wla_secret **ret,
                    struct wla_error *err) {
        struct wla_secret *copy;

        if (wla_secret_new(secret->size, &copy, err) < 0)
                return -1;
        memcpy(copy->data, secret->data, secret->size);
        *ret = copy;
        return 0;
}

struct wla_bytes wla_secret_view(const struct wla_secret *secret) {
        return (struct wla_bytes){.data = secret->data, .size = secret->size};
}

uint8_t *wla_secret_fill(struct wla_secret *secret) {
        return secret->data;
}

void wla_secret_truncate(struct wla_secret *secret, size_t size) {
        assert(size <= secret->size);
        OPENSSL_cleanse(secret->data + size, secret->size - size);
        secret->size = size;
}

struct wla_secret *wla_secret_free(struct wla_secret *secret) {
        if (secret && secret->in_pages)
                guarded_pages_unmap(secret, secret->in_pages);
        else if (secret)
                OPENSSL_secure_clear_free(secret, sizeof(*secret) + secret->size);
        return NULL;
}
