/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/aead.h"
#include "base/base64.h"
#include "fail_allocation.h"

static struct wla_secret *make_key(uint8_t first, size_t size) {
        struct wla_error err = {0};
        struct wla_secret *key = NULL;

        if (!CRYPTO_secure_malloc_initialized())
                ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(size, &key, &err), 0);
        for (size_t i = 0; i < size; i++)
                wla_secret_fill(key)[i] = (uint8_t)(first + i);
        return key;
}

static struct wla_bytes bytes(const void *data, size_t size) {
        return (struct wla_bytes){.data = data, .size = size};
}

/* The layer options and their ciphertext under key 00..1f and nonce 00..0b. */
static const char layer_options[] = "{\"symkey\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"}";
static const char sealed_base64[] = "PCClYqiOp2Kve7XK8Kw7LPSHwXaXGBY/aQipwVxZT/"
                                    "Z5Ufy5x4xH3ib9J6rK7El/li4ExTLunvhCO12KwvqZ2P6msUwh"
                                    "DS0ENg==";

START_TEST(gcm_agrees_with_the_vector) {
        _cleanup_secret_ struct wla_secret *key = make_key(0, 32);
        _cleanup_buf_ struct buf expected = BUF_WITH_LIMIT(256);
        _cleanup_buf_ struct buf sealed = BUF_WITH_LIMIT(256);
        _cleanup_secret_ struct wla_secret *plain = NULL;
        struct wla_error err = {0};
        uint8_t nonce[12];

        for (uint8_t i = 0; i < sizeof(nonce); i++)
                nonce[i] = i;
        ck_assert_int_eq(base64_decode(sealed_base64, strlen(sealed_base64), &expected, &err), 0);
        ck_assert_int_eq(aes256_gcm_seal(key, bytes(nonce, 12),
                                         bytes(layer_options, strlen(layer_options)), &sealed,
                                         &err),
                         0);
        ck_assert_uint_eq(sealed.size, expected.size);
        ck_assert_mem_eq(sealed.data, expected.data, sealed.size);

        ck_assert_int_eq(aes256_gcm_open(key, bytes(nonce, 12), bytes(sealed.data, sealed.size),
                                         &plain, &err),
                         0);
        ck_assert_uint_eq(wla_secret_view(plain).size, strlen(layer_options));
        ck_assert_mem_eq(wla_secret_view(plain).data, layer_options, strlen(layer_options));
}
END_TEST

START_TEST(gcm_refuses_every_flipped_bit) {
        _cleanup_secret_ struct wla_secret *key = make_key(0, 32);
        _cleanup_buf_ struct buf sealed = BUF_WITH_LIMIT(256);
        struct wla_error err = {0};
        uint8_t nonce[12] = {0};

        ck_assert_int_eq(
                aes256_gcm_seal(key, bytes(nonce, 12), bytes("plaintext", 9), &sealed, &err), 0);
        for (size_t bit = 0; bit < sealed.size * 8; bit++) {
                struct wla_secret *plain = NULL;

                sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
                ck_assert_int_eq(aes256_gcm_open(key, bytes(nonce, 12),
                                                 bytes(sealed.data, sealed.size), &plain, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                ck_assert_ptr_null(plain);
                sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
}
END_TEST

START_TEST(gcm_binds_additional_data) {
        _cleanup_secret_ struct wla_secret *key = make_key(0, 32);
        _cleanup_buf_ struct buf sealed = BUF_WITH_LIMIT(256);
        _cleanup_buf_ struct buf other = BUF_WITH_LIMIT(256);
        struct wla_error err = {0};
        char additional[] = "additional";
        uint8_t nonce[12] = {0};

        ck_assert_int_eq(aes256_gcm_seal_bound(key, bytes(nonce, 12), bytes(additional, 10),
                                               bytes("plaintext", 9), &sealed, &err),
                         0);
        ck_assert_int_eq(
                aes256_gcm_seal(key, bytes(nonce, 12), bytes("plaintext", 9), &other, &err), 0);
        ck_assert_mem_eq(sealed.data, other.data, 9);
        ck_assert_mem_ne(sealed.data + 9, other.data + 9, 16);

        for (size_t bit = 0; bit <= 10 * 8; bit++) {
                struct wla_secret *plain = NULL;
                size_t at = bit < 80 ? bit / 8 : 0;
                uint8_t mask = bit < 80 ? (uint8_t)(1u << bit % 8) : 0;

                additional[at] = (char)(additional[at] ^ mask);
                ck_assert_int_eq(aes256_gcm_open_bound(key, bytes(nonce, 12), bytes(additional, 10),
                                                       bytes(sealed.data, sealed.size), &plain,
                                                       &err),
                                 mask ? -1 : 0);
                additional[at] = (char)(additional[at] ^ mask);
                ck_assert(mask == 0 || (err.code == WLA_E_DENIED && !plain));
                wla_secret_free(plain);
        }

        struct wla_secret *plain = NULL;
        ck_assert_int_eq(aes256_gcm_open(key, bytes(nonce, 12), bytes(sealed.data, sealed.size),
                                         &plain, &err),
                         -1);
        ck_assert_int_eq(aes256_gcm_open_bound(key, bytes(nonce, 12), bytes(additional, 9),
                                               bytes(sealed.data, sealed.size), &plain, &err),
                         -1);
}
END_TEST

START_TEST(lengths_are_checked) {
        _cleanup_secret_ struct wla_secret *key = make_key(0, 32);
        _cleanup_secret_ struct wla_secret *short_key = make_key(0, 16);
        _cleanup_buf_ struct buf sealed = BUF_WITH_LIMIT(256);
        struct wla_secret *plain = NULL;
        struct wla_error err = {0};
        uint8_t zero[64] = {0};

        for (size_t size = 0; size < 20; size++) {
                ck_assert(size == 12 || aes256_gcm_open(key, bytes(zero, size), bytes(zero, 40),
                                                        &plain, &err) < 0);
                ck_assert(size == 12 || aes256_gcm_seal(key, bytes(zero, size), bytes(zero, 4),
                                                        &sealed, &err) < 0);
                ck_assert(size == 16 || aes256_ctr_open(key, bytes(zero, size), bytes(zero, 40),
                                                        &plain, &err) < 0);
                ck_assert_int_eq(size <= 16 ? aes256_gcm_open(key, bytes(zero, 12),
                                                              bytes(zero, size), &plain, &err)
                                            : -1,
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
        ck_assert_int_eq(aes256_gcm_open(short_key, bytes(zero, 12), bytes(zero, 40), &plain, &err),
                         -1);
        ck_assert_str_eq(wla_error_text(&err), "the key has 16 bytes where AES-256 needs 32");
        ck_assert_int_eq(aes256_gcm_seal(short_key, bytes(zero, 12), bytes(zero, 4), &sealed, &err),
                         -1);
        ck_assert_int_eq(aes256_ctr_open(short_key, bytes(zero, 16), bytes(zero, 4), &plain, &err),
                         -1);
        ck_assert_int_eq(aes256_ctr_open(key, bytes(zero, 16), bytes(zero, 0), &plain, &err), -1);
}
END_TEST

/* NIST SP 800-38A, F.5.5: CTR-AES256, first two blocks. */
START_TEST(ctr_agrees_with_nist) {
        static const uint8_t key_bytes[32] = {0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe,
                                              0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81,
                                              0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7,
                                              0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4};
        static const uint8_t counter[16] = {0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7,
                                            0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff};
        static const uint8_t ciphertext[32] = {0x60, 0x1e, 0xc3, 0x13, 0x77, 0x57, 0x89, 0xa5,
                                               0xb7, 0xa7, 0xf5, 0x04, 0xbb, 0xf3, 0xd2, 0x28,
                                               0xf4, 0x43, 0xe3, 0xca, 0x4d, 0x62, 0xb5, 0x9a,
                                               0xca, 0x84, 0xe9, 0x90, 0xca, 0xca, 0xf5, 0xc5};
        static const uint8_t plaintext[32] = {0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
                                              0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a,
                                              0xae, 0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c,
                                              0x9e, 0xb7, 0x6f, 0xac, 0x45, 0xaf, 0x8e, 0x51};
        _cleanup_secret_ struct wla_secret *key = make_key(0, 32);
        _cleanup_secret_ struct wla_secret *plain = NULL;
        struct wla_error err = {0};

        memcpy(wla_secret_fill(key), key_bytes, 32);
        ck_assert_int_eq(
                aes256_ctr_open(key, bytes(counter, 16), bytes(ciphertext, 32), &plain, &err), 0);
        ck_assert_mem_eq(wla_secret_view(plain).data, plaintext, 32);
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        _cleanup_secret_ struct wla_secret *key = make_key(0, 32);
        uint8_t nonce[12] = {0};

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf sealed = BUF_WITH_LIMIT(256);
                struct wla_error err = {0};
                int outcome = aes256_gcm_seal(key, bytes(nonce, 12), bytes("plain", 5), &sealed,
                                              &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

/* How many of OpenSSL's allocations succeed before the others fail. */
static size_t allowed = SIZE_MAX;

static bool fails_now(void) {
        return allowed == 0 || --allowed == 0;
}

static void *fragile_malloc(size_t size, const char *file, int line) {
        (void)file;
        (void)line;
        return fails_now() ? NULL : malloc(size);
}

static void *fragile_realloc(void *block, size_t size, const char *file, int line) {
        (void)file;
        (void)line;
        return fails_now() ? NULL : realloc(block, size);
}

static void fragile_free(void *block, const char *file, int line) {
        (void)file;
        (void)line;
        free(block);
}

START_TEST(openssl_without_memory_once_is_not_without_it_for_ever) {
        static const uint8_t nonce[12];
        _cleanup_buf_ struct buf sealed = BUF_WITH_LIMIT(64);
        struct wla_error err = {0};

        ck_assert_int_eq(CRYPTO_set_mem_functions(fragile_malloc, fragile_realloc, fragile_free),
                         1);
        _cleanup_secret_ struct wla_secret *key = make_key(0, 32);
        ck_assert_int_eq(EVP_Digest(nonce, 1, (uint8_t[32]){0}, NULL, EVP_sha256(), NULL), 1);

        allowed = 2; /* the context is made, the algorithm is not found */
        int outcome = aes256_gcm_seal(key, bytes(nonce, 12), bytes("x", 1), &sealed, &err);
        allowed = SIZE_MAX;
        ck_assert_int_eq(outcome, -1);

        buf_reset(&sealed);
        ck_assert_int_eq(aes256_gcm_seal(key, bytes(nonce, 12), bytes("x", 1), &sealed, &err), 0);
}
END_TEST

SUITE_MAIN("aead", gcm_agrees_with_the_vector, gcm_refuses_every_flipped_bit,
           gcm_binds_additional_data, lengths_are_checked, ctr_agrees_with_nist,
           failed_allocations_are_errors, openssl_without_memory_once_is_not_without_it_for_ever)
