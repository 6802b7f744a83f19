/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/rsa_wrap.h"

static EVP_PKEY *key_of_bits(unsigned bits) {
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
}

static size_t public_pem(EVP_PKEY *key, char *to, size_t size) {
        BIO *bio = BIO_new(BIO_s_mem());

        ck_assert_int_eq(PEM_write_bio_PUBKEY(bio, key), 1);
        int length = BIO_read(bio, to, (int)size);
        BIO_free(bio);
        ck_assert_int_gt(length, 0);
        return (size_t)length;
}

static int unwrap_with_label(EVP_PKEY *key, const char *label, size_t label_size,
                             const struct buf *wrapped, uint8_t *to, size_t *size) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);

        ck_assert_int_eq(EVP_PKEY_decrypt_init(context), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set0_rsa_oaep_label(
                                 context, OPENSSL_memdup(label, label_size), (int)label_size),
                         1);
        int outcome = EVP_PKEY_decrypt(context, to, size, wrapped->data, wrapped->size);
        EVP_PKEY_CTX_free(context);
        return outcome;
}

START_TEST(the_private_key_opens_it_with_five_bytes_of_label) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_buf_ struct buf wrapped = BUF_WITH_LIMIT(1024);
        struct wla_error err = {0};
        char pem[1024];
        uint8_t out[256];
        size_t size = sizeof(out);

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(32, &secret, &err), 0);
        memset(wla_secret_fill(secret), 0x42, 32);

        EVP_PKEY *key = key_of_bits(2048);
        size_t pem_size = public_pem(key, pem, sizeof(pem));
        ck_assert_int_eq(rsa_wrap(pem, pem_size, secret, &wrapped, &err), 0);
        ck_assert_uint_eq(wrapped.size, RSA_WRAPPED_SIZE);
        ck_assert_int_le(unwrap_with_label(key, "TPM2", 4, &wrapped, out, &size), 0);
        size = sizeof(out);
        ck_assert_int_eq(unwrap_with_label(key, "TPM2", 5, &wrapped, out, &size), 1);
        ck_assert_uint_eq(size, 32);
        ck_assert_mem_eq(out, wla_secret_view(secret).data, 32);
        EVP_PKEY_free(key);
}
END_TEST

/* lHash of RFC 8017 section 7.1.1, as a TPM and KBS of Intel SecL 4.2 compute it. */
START_TEST(the_label_has_its_hash) {
        static const uint8_t hash[32] = {
                0x3b, 0x2d, 0xfd, 0xac, 0xdc, 0x5c, 0xf1, 0x00, 0x96, 0x10, 0xc6,
                0x45, 0xe8, 0x17, 0x8c, 0x20, 0xc8, 0x59, 0x0b, 0x02, 0xe9, 0xaa,
                0x50, 0xd0, 0x14, 0x4a, 0x05, 0x01, 0xbd, 0x37, 0x49, 0xc2,
        };
        uint8_t found[32];
        size_t size = 0;

        ck_assert_int_eq(EVP_Q_digest(NULL, "SHA256", NULL, RSA_WRAP_LABEL, RSA_WRAP_LABEL_SIZE,
                                      found, &size),
                         1);
        ck_assert_uint_eq(size, sizeof(hash));
        ck_assert_mem_eq(found, hash, sizeof(hash));
}
END_TEST

START_TEST(other_keys_are_refused) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_buf_ struct buf wrapped = BUF_WITH_LIMIT(1024);
        struct wla_error err = {0};
        char pem[2048];

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(191, &secret, &err), 0);

        EVP_PKEY *small = key_of_bits(1024);
        size_t size = public_pem(small, pem, sizeof(pem));
        ck_assert_int_eq(rsa_wrap(pem, size, secret, &wrapped, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "the public key is not RSA with 2048 bits");
        EVP_PKEY_free(small);

        EVP_PKEY *curve = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        size = public_pem(curve, pem, sizeof(pem));
        ck_assert_int_eq(rsa_wrap(pem, size, secret, &wrapped, &err), -1);
        EVP_PKEY_free(curve);

        EVP_PKEY *key = key_of_bits(2048);
        size = public_pem(key, pem, sizeof(pem));
        ck_assert_int_eq(rsa_wrap(pem, size, secret, &wrapped, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "191 bytes does not fit"));
        for (size_t cut = 0; cut < size - 1; cut += 7)
                ck_assert_int_eq(rsa_wrap(pem, cut, secret, &wrapped, &err), -1);
        ck_assert_int_eq(rsa_wrap("nonsense", 8, secret, &wrapped, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "this is no PEM public key");
        EVP_PKEY_free(key);
}
END_TEST

START_TEST(a_modulus_gives_the_same_pem_and_fingerprint) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};
        char expected[1024];
        char ours[KEY_FINGERPRINT_SIZE];
        char theirs[KEY_FINGERPRINT_SIZE];
        uint8_t modulus[RSA_WRAPPED_SIZE];
        BIGNUM *n = NULL;

        EVP_PKEY *key = key_of_bits(2048);
        ck_assert_int_eq(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
        ck_assert_int_eq(BN_bn2binpad(n, modulus, sizeof(modulus)), sizeof(modulus));
        ck_assert_int_eq(rsa_public_pem(modulus, &pem, &err), 0);
        size_t size = public_pem(key, expected, sizeof(expected));
        ck_assert_uint_eq(pem.size, size);
        ck_assert_mem_eq(pem.data, expected, size);

        ck_assert_int_eq(rsa_public_fingerprint((char *)pem.data, pem.size, ours, &err), 0);
        ck_assert_int_eq(rsa_public_fingerprint(expected, size, theirs, &err), 0);
        ck_assert_str_eq(ours, theirs);
        ck_assert_int_eq(rsa_modulus_fingerprint(modulus, ours, &err), 0);
        ck_assert_str_eq(ours, theirs);
        ck_assert_uint_eq(strlen(ours), 64);

        modulus[0] &= 0x7f;
        ck_assert_int_eq(rsa_modulus_fingerprint(modulus, ours, &err), -1);
        ck_assert_int_eq(rsa_public_pem(modulus, &pem, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        BN_free(n);
        EVP_PKEY_free(key);
}
END_TEST

SUITE_MAIN("rsa_wrap", the_label_has_its_hash, the_private_key_opens_it_with_five_bytes_of_label,
           other_keys_are_refused, a_modulus_gives_the_same_pem_and_fingerprint)
