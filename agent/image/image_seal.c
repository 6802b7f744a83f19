/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image_seal.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "image/derived_key.h"

#define LABEL_MAX 128u

struct seal_accumulator {
        EVP_CIPHER_CTX *gmac;
        EVP_MAC_CTX *hmac;
        uint64_t number; /* of the piece that was begun */
        struct seal_sum sum;
};

static int derive_label(const char *purpose, const struct uuid *header, struct buf *to,
                        struct wla_error *err) {
        return buf_printf(to, err, "wlagent-seal-%s 1\n%s\n", purpose, header->text);
}

static struct wla_bytes bytes_of(const struct buf *buf) {
        return (struct wla_bytes){.data = buf->data, .size = buf->size};
}

static int make_gmac(const struct wla_secret *volume_key, const struct uuid *header,
                     EVP_CIPHER_CTX **ret, struct wla_error *err) {
        _cleanup_buf_ struct buf label = BUF_WITH_LIMIT(LABEL_MAX);
        _cleanup_secret_ struct wla_secret *key = NULL;

        if (derive_label("piece", header, &label, err) < 0 ||
            derived_key(volume_key, bytes_of(&label), AES256_KEY_SIZE, &key, err) < 0)
                return -1;

        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        if (!context || EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL,
                                           wla_secret_view(key).data, NULL) != 1) {
                EVP_CIPHER_CTX_free(context);
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run AES-256-GMAC");
        }
        *ret = context;
        return 0;
}

static int make_hmac(const struct wla_secret *volume_key, const struct uuid *header,
                     EVP_MAC_CTX **ret, struct wla_error *err) {
        _cleanup_buf_ struct buf label = BUF_WITH_LIMIT(LABEL_MAX);

        if (derive_label("sum", header, &label, err) < 0)
                return -1;
        return derived_mac(volume_key, bytes_of(&label), ret, err);
}

int seal_accumulator_new(const struct wla_secret *volume_key, const struct uuid *header,
                         struct seal_accumulator **ret, struct wla_error *err) {
        struct seal_accumulator *accumulator = calloc(1, sizeof(*accumulator));

        if (!accumulator)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (make_gmac(volume_key, header, &accumulator->gmac, err) < 0 ||
            make_hmac(volume_key, header, &accumulator->hmac, err) < 0) {
                seal_accumulator_free(accumulator);
                return -1;
        }
        *ret = accumulator;
        return 0;
}

struct seal_accumulator *seal_accumulator_free(struct seal_accumulator *accumulator) {
        if (!accumulator)
                return NULL;

        EVP_CIPHER_CTX_free(accumulator->gmac);
        EVP_MAC_CTX_free(accumulator->hmac);
        free(accumulator);
        return NULL;
}

static int fail_piece(struct wla_error *err) {
        return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot seal a piece of the image");
}

int seal_begin_piece(struct seal_accumulator *accumulator, uint64_t number, struct wla_error *err) {
        uint8_t nonce[AES256_GCM_NONCE] = {0};
        uint64_t stored = htole64(number);

        memcpy(nonce, &stored, sizeof(stored));
        accumulator->number = number;
        if (EVP_EncryptInit_ex(accumulator->gmac, NULL, NULL, NULL, nonce) != 1)
                return fail_piece(err);
        return 0;
}

int seal_add_part(struct seal_accumulator *accumulator, const uint8_t *part, size_t size,
                  struct wla_error *err) {
        int written;

        if (EVP_EncryptUpdate(accumulator->gmac, NULL, &written, part, (int)size) != 1)
                return fail_piece(err);
        return 0;
}

/* Without a key an EVP_MAC begins again under the one that it has. */
static bool run_hmac(EVP_MAC_CTX *hmac, uint64_t number, const void *data, size_t size,
                     uint8_t ret[IMAGE_SEAL_SIZE]) {
        uint64_t stored = htole64(number);
        size_t written;

        return EVP_MAC_init(hmac, NULL, 0, NULL) == 1 &&
               EVP_MAC_update(hmac, (const uint8_t *)&stored, sizeof(stored)) == 1 &&
               EVP_MAC_update(hmac, data, size) == 1 &&
               EVP_MAC_final(hmac, ret, &written, IMAGE_SEAL_SIZE) == 1;
}

static void add(struct seal_sum *sum, const uint8_t bytes[IMAGE_SEAL_SIZE]) {
        for (size_t i = 0; i < IMAGE_SEAL_SIZE; i++)
                sum->bytes[i] ^= bytes[i];
}

int seal_end_piece(struct seal_accumulator *accumulator, struct wla_error *err) {
        uint8_t nothing[AES256_GCM_TAG];
        uint8_t tag[AES256_GCM_TAG];
        uint8_t term[IMAGE_SEAL_SIZE];
        int written;

        if (EVP_EncryptFinal_ex(accumulator->gmac, nothing, &written) != 1 ||
            EVP_CIPHER_CTX_ctrl(accumulator->gmac, EVP_CTRL_AEAD_GET_TAG, sizeof(tag), tag) != 1 ||
            !run_hmac(accumulator->hmac, accumulator->number, tag, sizeof(tag), term))
                return fail_piece(err);

        add(&accumulator->sum, term);
        return 0;
}

void seal_add_to(const struct seal_accumulator *accumulator, struct seal_sum *sum) {
        add(sum, accumulator->sum.bytes);
}

/* 24 bytes are the input of a piece's HMAC, 40 that of the whole. */
int seal_finish(const struct wla_secret *volume_key, const struct uuid *header, uint64_t size,
                const struct seal_sum *sum, uint8_t ret[IMAGE_SEAL_SIZE], struct wla_error *err) {
        _cleanup_mac_ EVP_MAC_CTX *hmac = NULL;

        if (make_hmac(volume_key, header, &hmac, err) < 0)
                return -1;
        if (!run_hmac(hmac, size, sum->bytes, sizeof(sum->bytes), ret))
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot seal the image");
        return 0;
}
