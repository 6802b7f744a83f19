/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session_salt.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "base/openssl_cleanup.h"
#include "tpm/session_crypto.h"

#define SALT_SIZE      SESSION_DIGEST_SIZE
#define COORDINATE_MAX 66u /* P-521 */
#define POINT_MAX      (1u + 2u * COORDINATE_MAX)
#define UNCOMPRESSED   4u /* SEC 1, section 2.3.3 */
#define RSA_EXPONENT   65537u

static const char label[] = "SECRET"; /* its zero byte counts */

DEFINE_CLEANUP(BIGNUM, BN_free)
DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(OSSL_PARAM, OSSL_PARAM_free)
DEFINE_CLEANUP(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)

static EVP_PKEY *rsa_public(const TPMT_PUBLIC *area) {
        const TPM2B_PUBLIC_KEY_RSA *modulus = &area->unique.rsa;
        uint32_t exponent = area->parameters.rsaDetail.exponent;
        EVP_PKEY *key = NULL;

        if (modulus->size > sizeof(modulus->buffer))
                return NULL;

        CLEAN(BIGNUM) *n = BN_bin2bn(modulus->buffer, modulus->size, NULL);
        CLEAN(OSSL_PARAM_BLD) *build = OSSL_PARAM_BLD_new();
        if (!n || !build || OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
            OSSL_PARAM_BLD_push_uint32(build, OSSL_PKEY_PARAM_RSA_E,
                                       exponent != 0 ? exponent : RSA_EXPONENT) != 1)
                return NULL;

        CLEAN(OSSL_PARAM) *parameters = OSSL_PARAM_BLD_to_param(build);
        CLEAN(EVP_PKEY_CTX) *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        if (!parameters || !context || EVP_PKEY_fromdata_init(context) != 1 ||
            EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
                return NULL;
        return key;
}

/* OpenSSL takes ownership of the label. */
static bool use_oaep(EVP_PKEY_CTX *context) {
        uint8_t *copy = OPENSSL_memdup(label, sizeof(label));

        if (copy && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
            EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) == 1 &&
            EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy, sizeof(label)) == 1)
                return true;
        OPENSSL_free(copy);
        return false;
}

static bool seal_to_rsa(const TPMT_PUBLIC *area, uint8_t salt[SALT_SIZE],
                        TPM2B_ENCRYPTED_SECRET *ret) {
        size_t size = sizeof(ret->secret);
        CLEAN(EVP_PKEY) *key = rsa_public(area);
        CLEAN(EVP_PKEY_CTX) *context = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;

        if (!context || RAND_priv_bytes(salt, SALT_SIZE) != 1 ||
            EVP_PKEY_encrypt_init(context) != 1 || !use_oaep(context) ||
            EVP_PKEY_encrypt(context, ret->secret, &size, salt, SALT_SIZE) != 1)
                return false;
        ret->size = (uint16_t)size;
        return true;
}

struct curve {
        TPM2_ECC_CURVE id;
        const char *name;
        size_t size; /* of a coordinate */
};

static const struct curve *curve_of(TPM2_ECC_CURVE id) {
        static const struct curve curves[] = {
                {TPM2_ECC_NIST_P256, "P-256", 32},
                {TPM2_ECC_NIST_P384, "P-384", 48},
                {TPM2_ECC_NIST_P521, "P-521", 66},
        };

        for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
                if (curves[i].id == id)
                        return &curves[i];
        return NULL;
}

/* A TPM may leave out zeros in front. */
static bool put_coordinate(const TPM2B_ECC_PARAMETER *from, uint8_t *to, size_t size) {
        if (from->size > size)
                return false;
        memset(to, 0, size - from->size);
        memcpy(to + size - from->size, from->buffer, from->size);
        return true;
}

/* Refuses what is no point of the curve. */
static EVP_PKEY *ecc_public(const TPMS_ECC_POINT *point, const struct curve *curve,
                            const EVP_PKEY *same_curve) {
        uint8_t encoded[POINT_MAX] = {UNCOMPRESSED};
        CLEAN(EVP_PKEY) *key = EVP_PKEY_new();

        if (!key || !put_coordinate(&point->x, encoded + 1, curve->size) ||
            !put_coordinate(&point->y, encoded + 1 + curve->size, curve->size) ||
            EVP_PKEY_copy_parameters(key, same_curve) != 1 ||
            EVP_PKEY_set1_encoded_public_key(key, encoded, 1 + 2 * curve->size) != 1)
                return NULL;

        EVP_PKEY *made = key;
        key = NULL;
        return made;
}

static bool agree(EVP_PKEY *own, EVP_PKEY *theirs, uint8_t *shared, size_t size) {
        CLEAN(EVP_PKEY_CTX) *context = EVP_PKEY_CTX_new(own, NULL);
        size_t got = size;

        return context && EVP_PKEY_derive_init(context) == 1 &&
               EVP_PKEY_derive_set_peer(context, theirs) == 1 &&
               EVP_PKEY_derive(context, shared, &got) == 1 && got == size;
}

static bool take_point(EVP_PKEY *key, const struct curve *curve, TPMS_ECC_POINT *ret) {
        uint8_t *encoded = NULL;
        size_t size = EVP_PKEY_get1_encoded_public_key(key, &encoded);
        bool good = size == 1 + 2 * curve->size && encoded[0] == UNCOMPRESSED;

        if (good) {
                ret->x.size = ret->y.size = (uint16_t)curve->size;
                memcpy(ret->x.buffer, encoded + 1, curve->size);
                memcpy(ret->y.buffer, encoded + 1 + curve->size, curve->size);
        }
        OPENSSL_free(encoded);
        return good;
}

/* KDFe; as many bits as the digest gives are wanted, so that its first round is all. */
static bool derive(const uint8_t *shared, size_t size, const TPM2B_ECC_PARAMETER *own_x,
                   const TPM2B_ECC_PARAMETER *their_x, uint8_t salt[SALT_SIZE]) {
        static const uint8_t round[] = {0, 0, 0, 1};
        CLEAN(EVP_MD_CTX) *context = EVP_MD_CTX_new();

        return context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
               EVP_DigestUpdate(context, round, sizeof(round)) == 1 &&
               EVP_DigestUpdate(context, shared, size) == 1 &&
               EVP_DigestUpdate(context, label, sizeof(label)) == 1 &&
               EVP_DigestUpdate(context, own_x->buffer, own_x->size) == 1 &&
               EVP_DigestUpdate(context, their_x->buffer, their_x->size) == 1 &&
               EVP_DigestFinal_ex(context, salt, NULL) == 1;
}

static bool agree_with_ecc(const TPMT_PUBLIC *area, uint8_t salt[SALT_SIZE],
                           TPM2B_ENCRYPTED_SECRET *ret) {
        const struct curve *curve = curve_of(area->parameters.eccDetail.curveID);
        uint8_t shared[COORDINATE_MAX];
        TPMS_ECC_POINT point;
        size_t size = 0;

        if (!curve)
                return false;
        CLEAN(EVP_PKEY) *own = EVP_EC_gen(curve->name);
        CLEAN(EVP_PKEY) *theirs = own ? ecc_public(&area->unique.ecc, curve, own) : NULL;
        bool good = theirs && take_point(own, curve, &point) &&
                    agree(own, theirs, shared, curve->size) &&
                    derive(shared, curve->size, &point.x, &area->unique.ecc.x, salt) &&
                    Tss2_MU_TPMS_ECC_POINT_Marshal(&point, ret->secret, sizeof(ret->secret),
                                                   &size) == TSS2_RC_SUCCESS;
        OPENSSL_cleanse(shared, sizeof(shared));
        ret->size = (uint16_t)size;
        return good;
}

int session_salt_make(const TPM2B_PUBLIC *storage, struct wla_secret **ret_salt,
                      TPM2B_ENCRYPTED_SECRET *ret_encrypted, struct wla_error *err) {
        const TPMT_PUBLIC *area = &storage->publicArea;
        struct wla_secret *salt = NULL;
        bool good = false;

        if (wla_secret_new(SALT_SIZE, &salt, err) < 0)
                return -1;
        if (area->nameAlg == TPM2_ALG_SHA256 && area->type == TPM2_ALG_RSA)
                good = seal_to_rsa(area, wla_secret_fill(salt), ret_encrypted);
        else if (area->nameAlg == TPM2_ALG_SHA256 && area->type == TPM2_ALG_ECC)
                good = agree_with_ecc(area, wla_secret_fill(salt), ret_encrypted);
        if (!good) {
                (void)wla_secret_free(salt);
                return wla_fail_hint(err, WLA_E_TPM,
                                     "it has to be RSA, or ECC on the curve P-256, P-384 or P-521",
                                     "the storage key of this TPM cannot protect a session");
        }

        *ret_salt = salt;
        return 0;
}
