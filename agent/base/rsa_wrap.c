/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rsa_wrap.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/base64.h"
#include "base/openssl_cleanup.h"

#define PEM_SIZE_MAX 16384u
#define PEM_LINE     64u /* RFC 7468 section 2 */

DEFINE_CLEANUP(BIO, BIO_free_all)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free)

static int fail_openssl(struct wla_error *err, const char *what) {
        return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot %s", what);
}

static int read_public_key(const char *pem, size_t pem_size, EVP_PKEY **ret,
                           struct wla_error *err) {
        if (pem_size == 0 || pem_size > PEM_SIZE_MAX)
                return wla_fail(err, WLA_E_INPUT, "%zu bytes are no PEM public key", pem_size);

        CLEAN(BIO) *bio = BIO_new_mem_buf(pem, (int)pem_size);
        if (!bio)
                return fail_openssl(err, "read PEM");

        CLEAN(EVP_PKEY) *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        if (!key)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "use the host's binding-key.pem, which 'wlagent setup' wrote",
                                     "this is no PEM public key");
        if (!EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) != RSA_WRAPPED_SIZE * 8)
                return wla_fail(err, WLA_E_INPUT, "the public key is not RSA with 2048 bits");

        *ret = key;
        key = NULL;
        return 0;
}

/* OpenSSL takes ownership of the label. */
static int use_oaep(EVP_PKEY_CTX *context) {
        uint8_t *label = OPENSSL_memdup(RSA_WRAP_LABEL, RSA_WRAP_LABEL_SIZE);

        if (EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) != 1 ||
            EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) != 1 || !label ||
            EVP_PKEY_CTX_set0_rsa_oaep_label(context, label, RSA_WRAP_LABEL_SIZE) != 1) {
                OPENSSL_free(label);
                return -1;
        }
        return 0;
}

int rsa_wrap(const char *pem, size_t pem_size, const struct wla_secret *key, struct buf *wrapped,
             struct wla_error *err) {
        struct wla_bytes plain = wla_secret_view(key);
        CLEAN(EVP_PKEY) *public_key = NULL;

        if (read_public_key(pem, pem_size, &public_key, err) < 0)
                return -1;
        if (plain.size > RSA_WRAP_PLAIN_MAX)
                return wla_fail(err, WLA_E_INPUT, "a key of %zu bytes does not fit into RSA-2048",
                                plain.size);

        CLEAN(EVP_PKEY_CTX) *context = EVP_PKEY_CTX_new(public_key, NULL);
        if (!context || EVP_PKEY_encrypt_init(context) != 1 || use_oaep(context) < 0)
                return fail_openssl(err, "prepare RSA-OAEP");

        uint8_t out[RSA_WRAPPED_SIZE];
        size_t size = sizeof(out);
        if (EVP_PKEY_encrypt(context, out, &size, plain.data, plain.size) != 1)
                return fail_openssl(err, "wrap the key with RSA-OAEP");
        return buf_append(wrapped, out, size, err);
}

static int fingerprint_of(const uint8_t *der, size_t der_size, char ret[KEY_FINGERPRINT_SIZE],
                          struct wla_error *err) {
        static const char digits[] = "0123456789abcdef";
        uint8_t digest[32];

        if (EVP_Digest(der, der_size, digest, NULL, EVP_sha256(), NULL) != 1)
                return fail_openssl(err, "compute SHA-256");

        for (size_t i = 0; i < sizeof(digest); i++) {
                ret[2 * i] = digits[digest[i] >> 4];
                ret[2 * i + 1] = digits[digest[i] & 15];
        }
        ret[2 * sizeof(digest)] = '\0';
        return 0;
}

int rsa_public_fingerprint(const char *pem, size_t pem_size, char ret[KEY_FINGERPRINT_SIZE],
                           struct wla_error *err) {
        CLEAN(EVP_PKEY) *key = NULL;

        if (read_public_key(pem, pem_size, &key, err) < 0)
                return -1;

        uint8_t *der = NULL;
        int der_size = i2d_PUBKEY(key, &der);
        if (der_size < 0)
                return fail_openssl(err, "encode the public key");

        int outcome = fingerprint_of(der, (size_t)der_size, ret, err);
        OPENSSL_free(der);
        return outcome;
}

/* SubjectPublicKeyInfo (RFC 8017 appendix A.1.1, RFC 5280 section 4.1.2.7) of a 2048-bit key with
 * exponent 65537: only the modulus varies.  OpenSSL's encoders do the same for 200 KiB of heap, which the
 * daemon would keep. */
static const uint8_t spki_start[] = {
        0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48,
        0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01,
        0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
};
static const uint8_t spki_end[] = {0x02, 0x03, 0x01, 0x00, 0x01};

#define SPKI_SIZE (sizeof(spki_start) + RSA_WRAPPED_SIZE + sizeof(spki_end))

static int encode_spki(const uint8_t modulus[RSA_WRAPPED_SIZE], uint8_t ret[SPKI_SIZE],
                       struct wla_error *err) {
        if ((modulus[0] & 0x80) == 0)
                return wla_fail(err, WLA_E_INPUT, "the modulus has fewer than 2048 bits");

        memcpy(ret, spki_start, sizeof(spki_start));
        memcpy(ret + sizeof(spki_start), modulus, RSA_WRAPPED_SIZE);
        memcpy(ret + sizeof(spki_start) + RSA_WRAPPED_SIZE, spki_end, sizeof(spki_end));
        return 0;
}

int rsa_modulus_fingerprint(const uint8_t modulus[RSA_WRAPPED_SIZE], char ret[KEY_FINGERPRINT_SIZE],
                            struct wla_error *err) {
        uint8_t der[SPKI_SIZE];

        if (encode_spki(modulus, der, err) < 0)
                return -1;
        return fingerprint_of(der, sizeof(der), ret, err);
}

int rsa_public_pem(const uint8_t modulus[RSA_WRAPPED_SIZE], struct buf *pem,
                   struct wla_error *err) {
        char text[(SPKI_SIZE + 2) / 3 * 4];
        uint8_t der[SPKI_SIZE];

        if (encode_spki(modulus, der, err) < 0)
                return -1;
        base64_encode(der, sizeof(der), text);

        if (buf_append_text(pem, "-----BEGIN PUBLIC KEY-----\n", err) < 0)
                return -1;
        for (size_t at = 0; at < sizeof(text); at += PEM_LINE) {
                size_t rest = sizeof(text) - at;

                if (buf_append(pem, text + at, rest < PEM_LINE ? rest : PEM_LINE, err) < 0 ||
                    buf_append(pem, "\n", 1, err) < 0)
                        return -1;
        }
        return buf_append_text(pem, "-----END PUBLIC KEY-----\n", err);
}
