/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rsa_wrap.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#define PEM_SIZE_MAX 16384u

/* One cleanup function for each OpenSSL type. */
#define DEFINE_CLEANUP(type, release)             \
        static void clean_##type(type **object) { \
                release(*object);                 \
        }
#define CLEAN(type) __attribute__((cleanup(clean_##type))) type

DEFINE_CLEANUP(BIO, BIO_free_all)
DEFINE_CLEANUP(BIGNUM, BN_free)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)
DEFINE_CLEANUP(OSSL_PARAM, OSSL_PARAM_free)

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

int rsa_public_fingerprint(const char *pem, size_t pem_size, char ret[KEY_FINGERPRINT_SIZE],
                           struct wla_error *err) {
        CLEAN(EVP_PKEY) *key = NULL;

        if (read_public_key(pem, pem_size, &key, err) < 0)
                return -1;

        uint8_t *der = NULL;
        int der_size = i2d_PUBKEY(key, &der);
        if (der_size < 0)
                return fail_openssl(err, "encode the public key");

        uint8_t digest[32];
        int outcome = EVP_Digest(der, (size_t)der_size, digest, NULL, EVP_sha256(), NULL);
        OPENSSL_free(der);
        if (outcome != 1)
                return fail_openssl(err, "compute SHA-256");

        static const char digits[] = "0123456789abcdef";
        for (size_t i = 0; i < sizeof(digest); i++) {
                ret[2 * i] = digits[digest[i] >> 4];
                ret[2 * i + 1] = digits[digest[i] & 15];
        }
        ret[2 * sizeof(digest)] = '\0';
        return 0;
}

static EVP_PKEY *make_public_key(const uint8_t modulus[RSA_WRAPPED_SIZE]) {
        CLEAN(BIGNUM) *n = BN_bin2bn(modulus, RSA_WRAPPED_SIZE, NULL);
        CLEAN(BIGNUM) *e = BN_new();
        CLEAN(OSSL_PARAM_BLD) *builder = OSSL_PARAM_BLD_new();

        if (!n || !e || !builder || BN_set_word(e, RSA_F4) != 1 ||
            OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
            OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) != 1)
                return NULL;

        CLEAN(OSSL_PARAM) *parameters = OSSL_PARAM_BLD_to_param(builder);
        CLEAN(EVP_PKEY_CTX) *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        EVP_PKEY *key = NULL;

        if (!parameters || !context || EVP_PKEY_fromdata_init(context) != 1 ||
            EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
                return NULL;
        return key;
}

int rsa_public_pem(const uint8_t modulus[RSA_WRAPPED_SIZE], struct buf *pem,
                   struct wla_error *err) {
        CLEAN(EVP_PKEY) *key = make_public_key(modulus);
        CLEAN(BIO) *bio = BIO_new(BIO_s_mem());

        if (!key || !bio || PEM_write_bio_PUBKEY(bio, key) != 1)
                return fail_openssl(err, "encode the public key as PEM");

        char *text;
        long size = BIO_get_mem_data(bio, &text);
        return buf_append(pem, text, (size_t)size, err);
}
