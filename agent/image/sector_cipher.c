/* SPDX-License-Identifier: Apache-2.0 */
#include "image/sector_cipher.h"

#include <endian.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "image/token.h"

#define TWEAK_UNIT      512u
#define TWEAK_SIZE      16u
#define SECTOR_SIZE_MAX 4096u

struct sector_cipher {
        EVP_CIPHER_CTX *context;
        uint32_t sector_size;
};

static const EVP_CIPHER *algorithm(size_t key_size) {
        if (key_size == VOLUME_KEY_SIZE)
                return EVP_aes_256_xts();
        return key_size == VOLUME_KEY_SIZE / 2 ? EVP_aes_128_xts() : NULL;
}

static int check(struct wla_bytes key, uint32_t sector_size, struct wla_error *err) {
        if (!algorithm(key.size))
                return wla_fail(err, WLA_E_INPUT, "a key of %zu bytes is none for AES-XTS",
                                key.size);
        if (CRYPTO_memcmp(key.data, key.data + key.size / 2, key.size / 2) == 0)
                return wla_fail(err, WLA_E_INPUT, "both halves of the XTS key are the same");
        if (sector_size < TWEAK_UNIT || sector_size > SECTOR_SIZE_MAX ||
            (sector_size & (sector_size - 1)) != 0)
                return wla_fail(err, WLA_E_INPUT, "sectors of %u bytes", sector_size);
        return 0;
}

int sector_cipher_new(const struct wla_secret *key, uint32_t sector_size,
                      enum sector_direction direction, struct sector_cipher **ret,
                      struct wla_error *err) {
        struct wla_bytes bytes = wla_secret_view(key);

        if (check(bytes, sector_size, err) < 0)
                return -1;

        _cleanup_sector_cipher_ struct sector_cipher *cipher = calloc(1, sizeof(*cipher));
        if (cipher)
                cipher->context = EVP_CIPHER_CTX_new();
        if (!cipher || !cipher->context)
                return wla_fail(err, WLA_E_BUSY, "there is no memory for a cipher");

        cipher->sector_size = sector_size;
        if (EVP_CipherInit_ex(cipher->context, algorithm(bytes.size), NULL, bytes.data, NULL,
                              direction == SECTOR_ENCRYPT) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run AES-XTS");

        *ret = cipher;
        cipher = NULL;
        return 0;
}

struct sector_cipher *sector_cipher_free(struct sector_cipher *cipher) {
        if (cipher)
                EVP_CIPHER_CTX_free(cipher->context);
        free(cipher);
        return NULL;
}

static bool run_sector(struct sector_cipher *cipher, uint64_t at, uint8_t *sector) {
        uint8_t tweak[TWEAK_SIZE] = {0};
        uint64_t number = htole64(at / TWEAK_UNIT);
        int written;

        memcpy(tweak, &number, sizeof(number));
        return EVP_CipherInit_ex(cipher->context, NULL, NULL, NULL, tweak, -1) == 1 &&
               EVP_CipherUpdate(cipher->context, sector, &written, sector,
                                (int)cipher->sector_size) == 1;
}

int sector_cipher_run(struct sector_cipher *cipher, uint64_t at, uint8_t *data, size_t size,
                      struct wla_error *err) {
        if (at % cipher->sector_size != 0 || size % cipher->sector_size != 0)
                return wla_fail(err, WLA_E_INPUT, "%zu bytes at %llu are no whole sectors", size,
                                (unsigned long long)at);

        for (size_t done = 0; done < size; done += cipher->sector_size)
                if (!run_sector(cipher, at + done, data + done))
                        return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run AES-XTS");
        return 0;
}
