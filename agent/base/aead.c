/* SPDX-License-Identifier: Apache-2.0 */
#include "base/aead.h"

#include <openssl/evp.h>
#include <stdatomic.h>

static void free_context(EVP_CIPHER_CTX **context) {
        EVP_CIPHER_CTX_free(*context);
}

#define _cleanup_cipher_ __attribute__((cleanup(free_context)))

/* Fetched once: to look an algorithm up takes OpenSSL longer than to open a packet.  NULL makes this
 * operation fail, and the next one look again. */
static const EVP_CIPHER *fetched_gcm(void) {
        static EVP_CIPHER *_Atomic fetched;
        EVP_CIPHER *present = atomic_load(&fetched);

        if (present)
                return present;

        EVP_CIPHER *gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
        if (!gcm || atomic_compare_exchange_strong(&fetched, &present, gcm))
                return gcm;

        EVP_CIPHER_free(gcm);
        return present;
}

static int check_key(const struct wla_secret *key, struct wla_error *err) {
        size_t size = wla_secret_view(key).size;

        if (size != AES256_KEY_SIZE)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "the owner has to encrypt it under an AES key of 256 bits",
                                     "the key has %zu bytes where AES-256 needs %u", size,
                                     AES256_KEY_SIZE);
        return 0;
}

/* The size limit keeps lengths inside OpenSSL's int. */
static int check_sizes(struct wla_bytes nonce, size_t nonce_size, size_t data_size,
                       struct wla_error *err) {
        if (nonce.size != nonce_size)
                return wla_fail(err, WLA_E_INPUT, "the iv has %zu bytes, not %zu", nonce.size,
                                nonce_size);
        if (data_size > INT32_MAX / 2)
                return wla_fail(err, WLA_E_INPUT, "%zu bytes are too many", data_size);
        return 0;
}

static int fail_openssl(struct wla_error *err) {
        return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run AES-256");
}

/* Both ways it goes in as an update without output. */
static bool authenticate(EVP_CIPHER_CTX *context, struct wla_bytes additional) {
        int size;

        return additional.size == 0 ||
               EVP_CipherUpdate(context, NULL, &size, additional.data, (int)additional.size) == 1;
}

int aes256_gcm_seal_bound(const struct wla_secret *key, struct wla_bytes nonce,
                          struct wla_bytes additional, struct wla_bytes plain, struct buf *sealed,
                          struct wla_error *err) {
        if (check_key(key, err) < 0 || check_sizes(nonce, AES256_GCM_NONCE, plain.size, err) < 0 ||
            check_sizes(nonce, AES256_GCM_NONCE, additional.size, err) < 0)
                return -1;

        _cleanup_cipher_ EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        if (!context)
                return fail_openssl(err);

        uint8_t *to = buf_extend(sealed, plain.size + AES256_GCM_TAG, err);
        if (!to)
                return -1;

        int written;
        int rest;
        if (EVP_EncryptInit_ex(context, fetched_gcm(), NULL, wla_secret_view(key).data,
                               nonce.data) != 1 ||
            !authenticate(context, additional) ||
            EVP_EncryptUpdate(context, to, &written, plain.data, (int)plain.size) != 1 ||
            EVP_EncryptFinal_ex(context, to + written, &rest) != 1 ||
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, AES256_GCM_TAG, to + plain.size) !=
                    1)
                return fail_openssl(err);
        return 0;
}

int aes256_gcm_seal(const struct wla_secret *key, struct wla_bytes nonce, struct wla_bytes plain,
                    struct buf *sealed, struct wla_error *err) {
        return aes256_gcm_seal_bound(key, nonce, (struct wla_bytes){0}, plain, sealed, err);
}

int aes256_gcm_open_bound(const struct wla_secret *key, struct wla_bytes nonce,
                          struct wla_bytes additional, struct wla_bytes sealed,
                          struct wla_secret **ret_plain, struct wla_error *err) {
        if (check_key(key, err) < 0 || check_sizes(nonce, AES256_GCM_NONCE, sealed.size, err) < 0 ||
            check_sizes(nonce, AES256_GCM_NONCE, additional.size, err) < 0)
                return -1;
        if (sealed.size <= AES256_GCM_TAG)
                return wla_fail(err, WLA_E_INPUT, "%zu bytes of ciphertext hold no tag",
                                sealed.size);

        _cleanup_cipher_ EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        if (!context)
                return fail_openssl(err);

        size_t plain_size = sealed.size - AES256_GCM_TAG;
        _cleanup_secret_ struct wla_secret *plain = NULL;
        if (wla_secret_new(plain_size, &plain, err) < 0)
                return -1;

        uint8_t tag[AES256_GCM_TAG];
        for (size_t i = 0; i < sizeof(tag); i++)
                tag[i] = sealed.data[plain_size + i];

        int written;
        int rest;
        if (EVP_DecryptInit_ex(context, fetched_gcm(), NULL, wla_secret_view(key).data,
                               nonce.data) != 1 ||
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, AES256_GCM_TAG, tag) != 1 ||
            !authenticate(context, additional) ||
            EVP_DecryptUpdate(context, wla_secret_fill(plain), &written, sealed.data,
                              (int)plain_size) != 1)
                return fail_openssl(err);
        if (EVP_DecryptFinal_ex(context, wla_secret_fill(plain) + written, &rest) != 1)
                return wla_fail(err, WLA_E_DENIED, "the authentication tag does not match");

        *ret_plain = plain;
        plain = NULL;
        return 0;
}

int aes256_gcm_open(const struct wla_secret *key, struct wla_bytes nonce, struct wla_bytes sealed,
                    struct wla_secret **ret_plain, struct wla_error *err) {
        return aes256_gcm_open_bound(key, nonce, (struct wla_bytes){0}, sealed, ret_plain, err);
}

int aes256_ctr_open(const struct wla_secret *key, struct wla_bytes counter,
                    struct wla_bytes ciphertext, struct wla_secret **ret_plain,
                    struct wla_error *err) {
        if (check_key(key, err) < 0 ||
            check_sizes(counter, AES256_CTR_BLOCK, ciphertext.size, err) < 0)
                return -1;
        if (ciphertext.size == 0)
                return wla_fail(err, WLA_E_INPUT, "there is no ciphertext");

        _cleanup_cipher_ EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        if (!context)
                return fail_openssl(err);

        _cleanup_secret_ struct wla_secret *plain = NULL;
        if (wla_secret_new(ciphertext.size, &plain, err) < 0)
                return -1;

        int written;
        if (EVP_DecryptInit_ex(context, EVP_aes_256_ctr(), NULL, wla_secret_view(key).data,
                               counter.data) != 1 ||
            EVP_DecryptUpdate(context, wla_secret_fill(plain), &written, ciphertext.data,
                              (int)ciphertext.size) != 1)
                return fail_openssl(err);

        *ret_plain = plain;
        plain = NULL;
        return 0;
}
