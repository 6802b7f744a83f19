/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session_salt.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "suite.h"

#define SALT_SIZE 32u

/* Each salt is opened as a TPM does it, with the private key. */

static void begin(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
}

static TPM2B_PUBLIC rsa_storage(EVP_PKEY *key) {
        TPM2B_PUBLIC public = {.publicArea = {.type = TPM2_ALG_RSA, .nameAlg = TPM2_ALG_SHA256}};
        TPM2B_PUBLIC_KEY_RSA *modulus = &public.publicArea.unique.rsa;
        BIGNUM *n = NULL;

        ck_assert_int_eq(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
        modulus->size = (uint16_t)BN_bn2bin(n, modulus->buffer);
        BN_free(n);
        return public;
}

static void rsa_opens(unsigned bits) {
        EVP_PKEY *key = EVP_RSA_gen(bits);
        TPM2B_PUBLIC public = rsa_storage(key);
        TPM2B_ENCRYPTED_SECRET encrypted;
        struct wla_secret *salt = NULL;
        struct wla_error err = {0};
        uint8_t opened[512];
        size_t size = sizeof(opened);

        ck_assert_int_eq(session_salt_make(&public, &salt, &encrypted, &err), 0);
        ck_assert_uint_eq(wla_secret_view(salt).size, SALT_SIZE);
        ck_assert_uint_eq(encrypted.size, bits / 8);

        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        ck_assert_int_eq(EVP_PKEY_decrypt_init(context), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set0_rsa_oaep_label(context, OPENSSL_memdup("SECRET", 7), 7),
                         1);
        ck_assert_int_eq(EVP_PKEY_decrypt(context, opened, &size, encrypted.secret, encrypted.size),
                         1);
        ck_assert_uint_eq(size, SALT_SIZE);
        ck_assert_mem_eq(opened, wla_secret_view(salt).data, SALT_SIZE);

        salt = wla_secret_free(salt);
        EVP_PKEY_CTX_free(context);
        EVP_PKEY_free(key);
}

START_TEST(an_rsa_key_opens_its_salt) {
        begin();
        rsa_opens(2048);
        rsa_opens(3072);
}
END_TEST

static TPM2B_PUBLIC ecc_storage(EVP_PKEY *key, TPM2_ECC_CURVE id, size_t size) {
        TPM2B_PUBLIC public = {.publicArea = {.type = TPM2_ALG_ECC,
                                              .nameAlg = TPM2_ALG_SHA256,
                                              .parameters.eccDetail.curveID = id}};
        TPMS_ECC_POINT *point = &public.publicArea.unique.ecc;
        uint8_t *encoded = NULL;

        ck_assert_uint_eq(EVP_PKEY_get1_encoded_public_key(key, &encoded), 1 + 2 * size);
        point->x.size = point->y.size = (uint16_t)size;
        memcpy(point->x.buffer, encoded + 1, size);
        memcpy(point->y.buffer, encoded + 1 + size, size);
        OPENSSL_free(encoded);
        return public;
}

/* KDFe over the coordinate that both know. */
static void derive(EVP_PKEY *key, const TPM2B_PUBLIC *public, const uint8_t *point, size_t size,
                   uint8_t *ret) {
        uint8_t encoded[133] = {4};
        uint8_t text[4 + 66 + 7 + 2 * 66] = {0, 0, 0, 1};
        EVP_PKEY *theirs = EVP_PKEY_new();
        size_t got = size;

        /* A marshalled TPMS_ECC_POINT: each coordinate has its size in front. */
        ck_assert_uint_eq((size_t)(point[0] << 8 | point[1]), size);
        ck_assert_uint_eq((size_t)(point[2 + size] << 8 | point[3 + size]), size);
        memcpy(encoded + 1, point + 2, size);
        memcpy(encoded + 1 + size, point + 4 + size, size);
        ck_assert_int_eq(EVP_PKEY_copy_parameters(theirs, key), 1);
        ck_assert_int_eq(EVP_PKEY_set1_encoded_public_key(theirs, encoded, 1 + 2 * size), 1);

        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        ck_assert_int_eq(EVP_PKEY_derive_init(context), 1);
        ck_assert_int_eq(EVP_PKEY_derive_set_peer(context, theirs), 1);
        ck_assert_int_eq(EVP_PKEY_derive(context, text + 4, &got), 1);
        memcpy(text + 4 + size, "SECRET", 7);
        memcpy(text + 11 + size, point + 2, size);
        const TPM2B_ECC_PARAMETER *own = &public->publicArea.unique.ecc.x;
        memcpy(text + 11 + 2 * size, own->buffer, own->size);
        ck_assert_int_eq(EVP_Digest(text, 11 + 2 * size + own->size, ret, NULL, EVP_sha256(), NULL),
                         1);
        EVP_PKEY_CTX_free(context);
        EVP_PKEY_free(theirs);
}

static void ecc_opens(EVP_PKEY *key, const TPM2B_PUBLIC *public, size_t size) {
        TPM2B_ENCRYPTED_SECRET encrypted;
        struct wla_secret *salt = NULL;
        struct wla_error err = {0};
        uint8_t expected[SALT_SIZE];

        ck_assert_int_eq(session_salt_make(public, &salt, &encrypted, &err), 0);
        ck_assert_uint_eq(encrypted.size, 2 * (2 + size));
        derive(key, public, encrypted.secret, size, expected);
        ck_assert_uint_eq(wla_secret_view(salt).size, SALT_SIZE);
        ck_assert_mem_eq(expected, wla_secret_view(salt).data, SALT_SIZE);
        salt = wla_secret_free(salt);
}

START_TEST(an_ecc_key_agrees_on_its_salt) {
        static const struct {
                TPM2_ECC_CURVE id;
                const char *name;
                size_t size;
        } curves[] = {{TPM2_ECC_NIST_P256, "P-256", 32},
                      {TPM2_ECC_NIST_P384, "P-384", 48},
                      {TPM2_ECC_NIST_P521, "P-521", 66}};

        begin();
        for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
                EVP_PKEY *key = EVP_EC_gen(curves[i].name);
                TPM2B_PUBLIC public = ecc_storage(key, curves[i].id, curves[i].size);

                ecc_opens(key, &public, curves[i].size);
                EVP_PKEY_free(key);
        }
}
END_TEST

/* One key in 256 has a zero there. */
START_TEST(a_coordinate_may_lack_zeros_in_front) {
        TPM2B_PUBLIC public;
        EVP_PKEY *key = NULL;

        begin();
        do {
                EVP_PKEY_free(key);
                key = EVP_EC_gen("P-256");
                public = ecc_storage(key, TPM2_ECC_NIST_P256, 32);
        } while (public.publicArea.unique.ecc.x.buffer[0] != 0);

        TPM2B_ECC_PARAMETER *x = &public.publicArea.unique.ecc.x;
        memmove(x->buffer, x->buffer + 1, --x->size);
        ecc_opens(key, &public, 32);
        EVP_PKEY_free(key);
}
END_TEST

static void is_refused(const TPM2B_PUBLIC *public) {
        TPM2B_ENCRYPTED_SECRET encrypted;
        struct wla_secret *salt = NULL;
        struct wla_error err = {0};
        size_t used = wla_secret_heap_used();

        ck_assert_int_eq(session_salt_make(public, &salt, &encrypted, &err), -1);
        ck_assert_ptr_null(salt);
        ck_assert_int_eq(err.code, WLA_E_TPM);
        ck_assert_ptr_nonnull(err.hint);
        ck_assert_uint_eq(wla_secret_heap_used(), used);
}

START_TEST(other_keys_protect_nothing) {
        begin();
        EVP_PKEY *key = EVP_EC_gen("P-256");
        const TPM2B_PUBLIC good = ecc_storage(key, TPM2_ECC_NIST_P256, 32);
        TPM2B_PUBLIC public = good;

        public.publicArea.unique.ecc.y.buffer[31] ^= 1; /* no point of the curve */
        is_refused(&public);
        public = good;
        public.publicArea.unique.ecc.x.size = 33;
        is_refused(&public);
        public = good;
        public.publicArea.unique.ecc.y.size = UINT16_MAX;
        is_refused(&public);
        public = good;
        public.publicArea.parameters.eccDetail.curveID = TPM2_ECC_BN_P256;
        is_refused(&public);
        public = good;
        public.publicArea.nameAlg = TPM2_ALG_SHA384;
        is_refused(&public);
        public = good;
        public.publicArea.type = TPM2_ALG_SYMCIPHER;
        is_refused(&public);
        public = good;
        public.publicArea.type = TPM2_ALG_RSA;
        public.publicArea.unique.rsa.size = 0;
        is_refused(&public);
        public.publicArea.unique.rsa.size = UINT16_MAX;
        is_refused(&public);
        EVP_PKEY_free(key);
}
END_TEST

START_TEST(without_locked_memory_there_is_none) {
        TPM2B_ENCRYPTED_SECRET encrypted;
        struct wla_secret *salt = NULL;
        struct wla_error err = {0};

        /* No heap has been made. */
        EVP_PKEY *key = EVP_EC_gen("P-256");
        const TPM2B_PUBLIC public = ecc_storage(key, TPM2_ECC_NIST_P256, 32);
        ck_assert_int_eq(session_salt_make(&public, &salt, &encrypted, &err), -1);
        ck_assert_ptr_null(salt);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        EVP_PKEY_free(key);
}
END_TEST

SUITE_MAIN("session salt", an_rsa_key_opens_its_salt, an_ecc_key_agrees_on_its_salt,
           a_coordinate_may_lack_zeros_in_front, other_keys_protect_nothing,
           without_locked_memory_there_is_none)
