/* SPDX-License-Identifier: Apache-2.0 */
#include "kbs/envelope_key.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "suite.h"

static void begin(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
}

static EVP_PKEY *public_half(const struct envelope_key *key) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(ENVELOPE_PEM_MAX);
        struct wla_error err = {0};

        ck_assert_int_eq(envelope_key_public(key, &pem, &err), 0);
        ck_assert_int_eq(memcmp(pem.data, "-----BEGIN PUBLIC KEY-----\n", 27), 0);
        BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
        EVP_PKEY *public = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        BIO_free_all(bio);
        ck_assert_ptr_nonnull(public);
        ck_assert_int_eq(EVP_PKEY_get_bits(public), ENVELOPE_BITS);
        return public;
}

struct wrapping {
        const EVP_MD *oaep;
        const EVP_MD *mgf1;
        const char *label;
        size_t size;
};

/* As KBS does it, or as it must not. */
static void wrap(const struct envelope_key *key, const struct wrapping *how,
                 uint8_t ret[ENVELOPE_SIZE]) {
        EVP_PKEY *public = public_half(key);
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(public, NULL);
        size_t label = how->label ? strlen(how->label) : 0;
        uint8_t plain[64];
        size_t size = ENVELOPE_SIZE;

        for (size_t i = 0; i < sizeof(plain); i++)
                plain[i] = (uint8_t)i;
        ck_assert_int_eq(EVP_PKEY_encrypt_init(context), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_oaep_md(context, how->oaep), 1);
        ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_mgf1_md(context, how->mgf1), 1);
        if (label > 0)
                ck_assert_int_eq(EVP_PKEY_CTX_set0_rsa_oaep_label(
                                         context, OPENSSL_memdup(how->label, label), (int)label),
                                 1);
        ck_assert_int_eq(EVP_PKEY_encrypt(context, ret, &size, plain, how->size), 1);
        EVP_PKEY_CTX_free(context);
        EVP_PKEY_free(public);
}

START_TEST(what_kbs_wraps_opens_and_nothing_else) {
        const struct wrapping genuine = {EVP_sha384(), EVP_sha384(), NULL, 32};
        const struct wrapping others[] = {
                {EVP_sha256(), EVP_sha256(), NULL, 32}, {EVP_sha384(), EVP_sha256(), NULL, 32},
                {EVP_sha384(), EVP_sha1(), NULL, 32},   {EVP_sha384(), EVP_sha384(), "TPM2", 32},
                {EVP_sha384(), EVP_sha384(), NULL, 16}, {EVP_sha384(), EVP_sha384(), NULL, 31},
                {EVP_sha384(), EVP_sha384(), NULL, 33},
        };
        _cleanup_secret_ struct wla_secret *opened = NULL;
        struct envelope_key *key = NULL;
        uint8_t wrapped[ENVELOPE_SIZE];
        struct wla_error err = {0};

        begin();
        ck_assert_int_eq(envelope_key_generate(&key, &err), 0);
        wrap(key, &genuine, wrapped);
        ck_assert_int_eq(envelope_key_open(key, wrapped, 32, &opened, &err), 0);
        ck_assert_uint_eq(wla_secret_view(opened).size, 32);
        for (size_t i = 0; i < 32; i++)
                ck_assert_uint_eq(wla_secret_view(opened).data[i], i);

        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                struct wla_secret *none = NULL;

                wrap(key, &others[i], wrapped);
                ck_assert_int_eq(envelope_key_open(key, wrapped, 32, &none, &err), -1);
                ck_assert_int_eq(err.code, i < 4 ? WLA_E_DENIED : WLA_E_UNSUPPORTED);
                ck_assert_ptr_null(none);
        }
        wrap(key, &genuine, wrapped);
        wrapped[ENVELOPE_SIZE / 2] ^= 1;
        struct wla_secret *none = NULL;
        ck_assert_int_eq(envelope_key_open(key, wrapped, 32, &none, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        envelope_key_free(key);
}
END_TEST

static struct wla_secret *secret_of(const uint8_t *data, size_t size) {
        struct wla_secret *secret = NULL;
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_new(size, &secret, &err), 0);
        memcpy(wla_secret_fill(secret), data, size);
        return secret;
}

/* The private half of a new key as OpenSSL writes it. */
static int encode(unsigned bits, bool in_info, uint8_t *to, size_t room) {
        EVP_PKEY *pair = EVP_RSA_gen(bits);
        BIO *bio = BIO_new(BIO_s_mem());
        char *der;

        ck_assert_int_eq(in_info ? i2d_PKCS8PrivateKey_bio(bio, pair, NULL, NULL, 0, NULL, NULL)
                                 : i2d_PrivateKey_bio(bio, pair),
                         1);
        long size = BIO_get_mem_data(bio, &der);
        ck_assert_int_le(size, (long)room);
        memcpy(to, der, (size_t)size);
        BIO_free_all(bio);
        EVP_PKEY_free(pair);
        return (int)size;
}

START_TEST(a_pair_of_ones_own) {
        const struct wrapping genuine = {EVP_sha384(), EVP_sha384(), NULL, 32};
        uint8_t der[4096];
        size_t size = (size_t)encode(ENVELOPE_BITS, _i == 1, der, sizeof(der));
        struct envelope_key *key = NULL;
        uint8_t wrapped[ENVELOPE_SIZE];
        struct wla_error err = {0};

        begin();
        struct wla_secret *text = secret_of(der, size);
        ck_assert_msg(envelope_key_parse(text, &key, &err) == 0, "%s", wla_error_text(&err));
        wla_secret_free(text);
        wrap(key, &genuine, wrapped);
        _cleanup_secret_ struct wla_secret *opened = NULL;
        ck_assert_int_eq(envelope_key_open(key, wrapped, 32, &opened, &err), 0);
        envelope_key_free(key);

        /* Whatever is cut or changed in the structure is no key. */
        for (size_t cut = 0; cut < size; cut += cut < 40 ? 1 : 97) {
                text = secret_of(der, cut > 0 ? cut : 1);
                ck_assert_int_eq(envelope_key_parse(text, &key, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                wla_secret_free(text);
        }
        for (size_t at = 0; at < 30; at++) {
                der[at] ^= 0x81;
                text = secret_of(der, size);
                ck_assert_int_eq(envelope_key_parse(text, &key, &err), -1);
                wla_secret_free(text);
                der[at] ^= 0x81;
        }
}
END_TEST

START_TEST(of_another_kind) {
        struct envelope_key *key = NULL;
        struct wla_error err = {0};
        uint8_t der[4096];
        size_t size = (size_t)encode(2048, false, der, sizeof(der));

        begin();
        struct wla_secret *text = secret_of(der, size);
        ck_assert_int_eq(envelope_key_parse(text, &key, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "the RSA key has 2048 bits where KBS needs 3072");
        wla_secret_free(text);

        /* A number of the key changed: the halves do not belong together. */
        der[size - 1] ^= 1;
        der[60] ^= 1;
        text = secret_of(der, size);
        ck_assert_int_eq(envelope_key_parse(text, &key, &err), -1);
        wla_secret_free(text);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("envelope_key");
        TCase *tcase = tcase_create("envelope_key");

        tcase_set_timeout(tcase, 240);
        tcase_add_test(tcase, what_kbs_wraps_opens_and_nothing_else);
        tcase_add_loop_test(tcase, a_pair_of_ones_own, 0, 2);
        tcase_add_test(tcase, of_another_kind);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
