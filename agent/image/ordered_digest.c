/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ordered_digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

struct ordered_digest {
        EVP_MD_CTX *context; /* of whoever has the next piece */

        pthread_mutex_t lock;
        pthread_cond_t change;
        uint64_t next;
        bool stopped;
        struct wla_error reason; /* stopped */
};

int ordered_digest_new(struct ordered_digest **ret, struct wla_error *err) {
        struct ordered_digest *digest = calloc(1, sizeof(*digest));

        if (!digest)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        (void)pthread_mutex_init(&digest->lock, NULL);
        (void)pthread_cond_init(&digest->change, NULL);
        digest->context = EVP_MD_CTX_new();
        if (!digest->context || EVP_DigestInit_ex(digest->context, EVP_sha384(), NULL) != 1) {
                ordered_digest_free(digest);
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run SHA-384");
        }
        *ret = digest;
        return 0;
}

struct ordered_digest *ordered_digest_free(struct ordered_digest *digest) {
        if (!digest)
                return NULL;
        EVP_MD_CTX_free(digest->context);
        (void)pthread_cond_destroy(&digest->change);
        (void)pthread_mutex_destroy(&digest->lock);
        free(digest);
        return NULL;
}

static int wait_for_turn(struct ordered_digest *digest, uint64_t number, struct wla_error *err) {
        (void)pthread_mutex_lock(&digest->lock);
        while (digest->next != number && !digest->stopped)
                (void)pthread_cond_wait(&digest->change, &digest->lock);
        int outcome = digest->stopped ? -1 : 0;
        if (outcome < 0)
                *err = digest->reason;
        (void)pthread_mutex_unlock(&digest->lock);
        return outcome;
}

static void pass_turn(struct ordered_digest *digest) {
        (void)pthread_mutex_lock(&digest->lock);
        digest->next++;
        (void)pthread_cond_broadcast(&digest->change);
        (void)pthread_mutex_unlock(&digest->lock);
}

int ordered_digest_add(struct ordered_digest *digest, uint64_t number, const uint8_t *piece,
                       size_t size, struct wla_error *err) {
        if (wait_for_turn(digest, number, err) < 0)
                return -1;
        if (EVP_DigestUpdate(digest->context, piece, size) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run SHA-384");
        pass_turn(digest);
        return 0;
}

void ordered_digest_stop(struct ordered_digest *digest, const struct wla_error *err) {
        (void)pthread_mutex_lock(&digest->lock);
        if (!digest->stopped)
                digest->reason = *err;
        digest->stopped = true;
        (void)pthread_cond_broadcast(&digest->change);
        (void)pthread_mutex_unlock(&digest->lock);
}

int ordered_digest_finish(struct ordered_digest *digest, uint8_t ret[SHA384_SIZE],
                          struct wla_error *err) {
        if (EVP_DigestFinal_ex(digest->context, ret, NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run SHA-384");
        return 0;
}
