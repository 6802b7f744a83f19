/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session_crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define LABEL_MAX       16u
#define CIPHER_KEY_SIZE 16u /* AES-128; the initial vector has as many */

static size_t append(uint8_t *to, size_t at, const void *from, size_t size) {
        memcpy(to + at, from, size);
        return at + size;
}

static int compute_hmac(struct wla_bytes key, const uint8_t *text, size_t size,
                        uint8_t ret[SESSION_DIGEST_SIZE]) {
        return HMAC(EVP_sha256(), key.data, (int)key.size, text, size, ret, NULL) ? 0 : -1;
}

/* As many bits as the HMAC gives are wanted, so that its first round is all of KDFa. */
int session_derive(struct wla_bytes key, const char *label, struct session_nonces nonces,
                   uint8_t ret[SESSION_DIGEST_SIZE]) {
        static const uint8_t round[] = {0, 0, 0, 1};
        static const uint8_t bits[] = {0, 0, SESSION_DIGEST_SIZE * 8 >> 8,
                                       SESSION_DIGEST_SIZE * 8 & 0xff};
        uint8_t text[sizeof(round) + LABEL_MAX + 2 * SESSION_DIGEST_SIZE + sizeof(bits)];
        size_t label_size = strlen(label) + 1; /* its zero byte counts */

        if (label_size > LABEL_MAX)
                return -1;

        size_t size = append(text, 0, round, sizeof(round));
        size = append(text, size, label, label_size);
        size = append(text, size, nonces.newer, SESSION_DIGEST_SIZE);
        size = append(text, size, nonces.older, SESSION_DIGEST_SIZE);
        size = append(text, size, bits, sizeof(bits));
        return compute_hmac(key, text, size, ret);
}

int session_authenticate(struct wla_bytes key, const uint8_t parameters[SESSION_DIGEST_SIZE],
                         struct session_nonces nonces, TPMA_SESSION attributes,
                         uint8_t ret[SESSION_DIGEST_SIZE]) {
        uint8_t text[3 * SESSION_DIGEST_SIZE + 1];
        size_t size = append(text, 0, parameters, SESSION_DIGEST_SIZE);

        size = append(text, size, nonces.newer, SESSION_DIGEST_SIZE);
        size = append(text, size, nonces.older, SESSION_DIGEST_SIZE);
        text[size++] = (uint8_t)attributes;
        return compute_hmac(key, text, size, ret);
}

static int run_cipher(const uint8_t key_and_vector[SESSION_DIGEST_SIZE], bool encrypt,
                      struct wla_bytes from, uint8_t *to) {
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int size = 0;

        bool good = context &&
                    EVP_CipherInit_ex(context, EVP_aes_128_cfb128(), NULL, key_and_vector,
                                      key_and_vector + CIPHER_KEY_SIZE, encrypt) == 1 &&
                    EVP_CipherUpdate(context, to, &size, from.data, (int)from.size) == 1 &&
                    (size_t)size == from.size;
        EVP_CIPHER_CTX_free(context);
        return good ? 0 : -1;
}

int session_cipher_parameter(struct wla_bytes key, struct session_nonces nonces, bool encrypt,
                             struct wla_bytes from, uint8_t *to) {
        uint8_t derived[SESSION_DIGEST_SIZE];

        if (session_derive(key, "CFB", nonces, derived) < 0)
                return -1;
        int r = run_cipher(derived, encrypt, from, to);
        OPENSSL_cleanse(derived, sizeof(derived));
        return r;
}
