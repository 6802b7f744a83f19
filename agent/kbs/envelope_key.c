/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/envelope_key.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/openssl_cleanup.h"

struct envelope_key {
        EVP_PKEY *pair;
};

DEFINE_CLEANUP(BIO, BIO_free_all)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(OSSL_PARAM, OSSL_PARAM_free)
DEFINE_CLEANUP(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)

static int fail_openssl(struct wla_error *err, const char *what) {
        return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot %s", what);
}

static int hold(EVP_PKEY **pair, struct envelope_key **ret, struct wla_error *err) {
        struct envelope_key *key = calloc(1, sizeof(*key));

        if (!key)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        key->pair = TAKE_PTR(*pair);
        *ret = key;
        return 0;
}

int envelope_key_generate(struct envelope_key **ret, struct wla_error *err) {
        CLEAN(EVP_PKEY) *pair = EVP_RSA_gen(ENVELOPE_BITS);

        if (!pair)
                return fail_openssl(err, "make an RSA key");
        return hold(&pair, ret, err);
}

struct envelope_key *envelope_key_free(struct envelope_key *key) {
        if (key)
                EVP_PKEY_free(key->pair);
        free(key);
        return NULL;
}

/* DER, as far as an RSA key needs it (X.690): one length in front of each content, no copies. */
struct der {
        const uint8_t *at;
        size_t left;
};

#define DER_INTEGER      0x02u
#define DER_OCTET_STRING 0x04u
#define DER_SEQUENCE     0x30u

static bool take_length(struct der *from, size_t *ret) {
        size_t length = *from->at++;

        from->left--;
        if (length >= 0x80) {
                size_t bytes = length & 0x7f;

                if (bytes == 0 || bytes > 2 || from->left < bytes)
                        return false;
                length = 0;
                for (; bytes > 0; bytes--, from->left--)
                        length = length << 8 | *from->at++;
        }
        *ret = length;
        return length <= from->left;
}

static bool take(struct der *from, unsigned tag, struct der *ret) {
        size_t length;

        if (from->left < 2 || *from->at != tag)
                return false;
        from->at++;
        from->left--;
        if (!take_length(from, &length))
                return false;
        *ret = (struct der){from->at, length};
        from->at += length;
        from->left -= length;
        return true;
}

/* rsaEncryption with its NULL (RFC 8017 appendix A.1). */
static const uint8_t rsa_algorithm[] = {
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
};

/* From PrivateKeyInfo to the RSAPrivateKey in it; whatever else it is stays what it is. */
static bool open_private_key_info(struct der *content) {
        struct der inside = *content;
        struct der version;
        struct der algorithm;
        struct der key;

        if (!take(&inside, DER_INTEGER, &version) || !take(&inside, DER_SEQUENCE, &algorithm))
                return true;
        if (version.left != 1 || *version.at != 0 || algorithm.left != sizeof(rsa_algorithm) ||
            memcmp(algorithm.at, rsa_algorithm, sizeof(rsa_algorithm)) != 0 ||
            !take(&inside, DER_OCTET_STRING, &key))
                return false;
        return take(&key, DER_SEQUENCE, content);
}

/* After the version, in this order. */
static const char *const numbers[] = {
        OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
        OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
        OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

/* The builder borrows the numbers until it has made parameters of them, in locked memory as they are. */
static bool take_numbers(struct der *from, BIGNUM *kept[NUMBERS], OSSL_PARAM_BLD *builder) {
        struct der number;

        if (!take(from, DER_INTEGER, &number) || number.left != 1 || *number.at != 0)
                return false;
        for (size_t i = 0; i < NUMBERS; i++) {
                kept[i] = BN_secure_new();
                if (!take(from, DER_INTEGER, &number) || number.left == 0 || !kept[i] ||
                    !BN_bin2bn(number.at, (int)number.left, kept[i]) ||
                    OSSL_PARAM_BLD_push_BN(builder, numbers[i], kept[i]) != 1)
                        return false;
        }
        return from->left == 0;
}

static EVP_PKEY *make_pair(OSSL_PARAM_BLD *builder) {
        CLEAN(OSSL_PARAM) *parameters = OSSL_PARAM_BLD_to_param(builder);
        CLEAN(EVP_PKEY_CTX) *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        EVP_PKEY *pair = NULL;

        if (parameters && context && EVP_PKEY_fromdata_init(context) == 1)
                (void)EVP_PKEY_fromdata(context, &pair, EVP_PKEY_KEYPAIR, parameters);
        return pair;
}

static EVP_PKEY *read_pair(struct der *content) {
        CLEAN(OSSL_PARAM_BLD) *builder = OSSL_PARAM_BLD_new();
        BIGNUM *kept[NUMBERS] = {0};
        EVP_PKEY *pair = NULL;

        if (builder && take_numbers(content, kept, builder))
                pair = make_pair(builder);
        for (size_t i = 0; i < NUMBERS; i++)
                BN_clear_free(kept[i]);
        return pair;
}

static bool is_consistent(EVP_PKEY *pair) {
        CLEAN(EVP_PKEY_CTX) *context = EVP_PKEY_CTX_new(pair, NULL);

        return context && EVP_PKEY_pairwise_check(context) == 1;
}

int envelope_key_parse(const struct wla_secret *der, struct envelope_key **ret,
                       struct wla_error *err) {
        struct der whole = {wla_secret_view(der).data, wla_secret_view(der).size};
        struct der content;

        if (!take(&whole, DER_SEQUENCE, &content) || whole.left > 0 ||
            !open_private_key_info(&content))
                return wla_fail(err, WLA_E_INPUT, "this is no private RSA key");

        CLEAN(EVP_PKEY) *pair = read_pair(&content);
        if (!pair || !is_consistent(pair))
                return wla_fail(err, WLA_E_INPUT, "this is no private RSA key");
        if (EVP_PKEY_get_bits(pair) != ENVELOPE_BITS)
                return wla_fail(err, WLA_E_INPUT, "the RSA key has %d bits where KBS needs %u",
                                EVP_PKEY_get_bits(pair), ENVELOPE_BITS);
        return hold(&pair, ret, err);
}

int envelope_key_public(const struct envelope_key *key, struct buf *pem, struct wla_error *err) {
        CLEAN(BIO) *bio = BIO_new(BIO_s_mem());
        char *text = NULL;

        if (!bio || PEM_write_bio_PUBKEY(bio, key->pair) != 1)
                return fail_openssl(err, "write a public key");
        long size = BIO_get_mem_data(bio, &text);
        return buf_append(pem, text, (size_t)size, err);
}

static bool prepare(EVP_PKEY_CTX *context) {
        return EVP_PKEY_decrypt_init(context) == 1 &&
               EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha384()) == 1 &&
               EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha384()) == 1;
}

int envelope_key_open(const struct envelope_key *key, const uint8_t wrapped[ENVELOPE_SIZE],
                      size_t size, struct wla_secret **ret, struct wla_error *err) {
        CLEAN(EVP_PKEY_CTX) *context = EVP_PKEY_CTX_new(key->pair, NULL);
        _cleanup_secret_ struct wla_secret *plain = NULL;
        size_t got = ENVELOPE_SIZE;

        if (!context || !prepare(context))
                return fail_openssl(err, "prepare RSA-OAEP");
        if (wla_secret_new(ENVELOPE_SIZE, &plain, err) < 0)
                return -1;
        if (EVP_PKEY_decrypt(context, wla_secret_fill(plain), &got, wrapped, ENVELOPE_SIZE) != 1)
                return wla_fail(err, WLA_E_DENIED,
                                "the envelope is not one for the public key that was sent");
        if (got != size)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "the key in the envelope has %zu bytes, not %zu", got, size);
        wla_secret_truncate(plain, size);
        *ret = TAKE_PTR(plain);
        return 0;
}
