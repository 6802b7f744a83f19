/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/evp.h>
#include <string.h>

#include "fail_allocation.h"
#include "image/sector_cipher.h"
#include "sample_image.h"

static void fill(uint8_t *data, size_t size) {
        for (size_t i = 0; i < size; i++)
                data[i] = (uint8_t)(i * 13 + i / 256);
}

/* IEEE 1619, vector 2: AES-128, key1 0x11.., key2 0x22.., data unit 0x3333333333, 32 bytes of 0x44.  The
 * data unit is ours at sector 0x3333333333; of a longer sector these are the first bytes. */
START_TEST(ieee_1619_vector_2) {
        static const uint8_t expected[32] = {0xc4, 0x54, 0x18, 0x5e, 0x6a, 0x16, 0x93, 0x6e,
                                             0x39, 0x33, 0x40, 0x38, 0xac, 0xef, 0x83, 0x8b,
                                             0xfb, 0x18, 0x6f, 0xff, 0x74, 0x80, 0xad, 0xc4,
                                             0x28, 0x93, 0x82, 0xec, 0xd6, 0xd3, 0x94, 0xf0};
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 32);
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        uint8_t sector[512];
        struct wla_error err = {0};

        memset(wla_secret_fill(key), 0x11, 16);
        memset(wla_secret_fill(key) + 16, 0x22, 16);
        memset(sector, 0x44, sizeof(sector));
        ck_assert_int_eq(sector_cipher_new(key, 512, SECTOR_ENCRYPT, &cipher, &err), 0);
        ck_assert_int_eq(sector_cipher_run(cipher, UINT64_C(0x3333333333) * 512, sector,
                                           sizeof(sector), &err),
                         0);
        ck_assert_mem_eq(sector, expected, sizeof(expected));
}
END_TEST

/* The second sector of 4096 bytes has the tweak 8. */
START_TEST(tweaks_count_512_bytes) {
        static const uint8_t tweak[16] = {8};
        _cleanup_secret_ struct wla_secret *key = sample_key(3, 64);
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        uint8_t data[8192];
        uint8_t expected[4096];
        struct wla_error err = {0};
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int written;

        fill(data, sizeof(data));
        ck_assert_int_eq(EVP_EncryptInit_ex(context, EVP_aes_256_xts(), NULL,
                                            wla_secret_view(key).data, tweak),
                         1);
        ck_assert_int_eq(EVP_EncryptUpdate(context, expected, &written, data + 4096, 4096), 1);
        EVP_CIPHER_CTX_free(context);

        ck_assert_int_eq(sector_cipher_new(key, 4096, SECTOR_ENCRYPT, &cipher, &err), 0);
        ck_assert_int_eq(sector_cipher_run(cipher, 0, data, sizeof(data), &err), 0);
        ck_assert_mem_eq(data + 4096, expected, sizeof(expected));
}
END_TEST

START_TEST(what_was_encrypted_is_decrypted) {
        static const uint32_t sizes[] = {512, 1024, 2048, 4096};

        for (size_t i = 0; i < 8; i++) {
                _cleanup_secret_ struct wla_secret *key = sample_key(1, i < 4 ? 64 : 32);
                _cleanup_sector_cipher_ struct sector_cipher *to = NULL;
                _cleanup_sector_cipher_ struct sector_cipher *from = NULL;
                uint8_t plain[8192];
                uint8_t data[8192];
                struct wla_error err = {0};

                fill(plain, sizeof(plain));
                memcpy(data, plain, sizeof(data));
                ck_assert_int_eq(sector_cipher_new(key, sizes[i % 4], SECTOR_ENCRYPT, &to, &err),
                                 0);
                ck_assert_int_eq(sector_cipher_new(key, sizes[i % 4], SECTOR_DECRYPT, &from, &err),
                                 0);
                ck_assert_int_eq(sector_cipher_run(to, 1 << 20, data, sizeof(data), &err), 0);
                ck_assert_mem_ne(data, plain, sizeof(data));
                /* In other pieces. */
                ck_assert_int_eq(sector_cipher_run(from, (1 << 20) + 4096, data + 4096, 4096, &err),
                                 0);
                ck_assert_int_eq(sector_cipher_run(from, 1 << 20, data, 4096, &err), 0);
                ck_assert_mem_eq(data, plain, sizeof(data));
        }
}
END_TEST

START_TEST(sizes_that_are_none) {
        static const uint32_t sectors[] = {0, 1, 256, 513, 768, 8192};
        static const size_t keys[] = {1, 16, 31, 33, 63, 128};
        struct wla_error err = {0};
        uint8_t data[8192] = {0};

        for (size_t i = 0; i < 6; i++) {
                _cleanup_secret_ struct wla_secret *key = sample_key(1, 64);
                _cleanup_secret_ struct wla_secret *odd = sample_key(1, keys[i]);
                struct sector_cipher *cipher = NULL;

                ck_assert_int_eq(sector_cipher_new(key, sectors[i], SECTOR_ENCRYPT, &cipher, &err),
                                 -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_int_eq(sector_cipher_new(odd, 512, SECTOR_ENCRYPT, &cipher, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_ptr_null(cipher);
        }

        _cleanup_secret_ struct wla_secret *key = sample_key(1, 64);
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        ck_assert_int_eq(sector_cipher_new(key, 4096, SECTOR_ENCRYPT, &cipher, &err), 0);
        ck_assert_int_eq(sector_cipher_run(cipher, 512, data, 4096, &err), -1);
        ck_assert_int_eq(sector_cipher_run(cipher, 0, data, 4095, &err), -1);
        ck_assert_int_eq(sector_cipher_run(cipher, 0, data, 0, &err), 0);

        memset(wla_secret_fill(key), 7, 64);
        struct sector_cipher *none = NULL;
        ck_assert_int_eq(sector_cipher_new(key, 4096, SECTOR_DECRYPT, &none, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "both halves of the XTS key are the same");
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        _cleanup_secret_ struct wla_secret *key = sample_key(1, 64);

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
                struct wla_error err = {0};
                int outcome = sector_cipher_new(key, 512, SECTOR_ENCRYPT, &cipher, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
}
END_TEST

SUITE_MAIN("sector_cipher", ieee_1619_vector_2, tweaks_count_512_bytes,
           what_was_encrypted_is_decrypted, sizes_that_are_none, failed_allocations_are_errors)
