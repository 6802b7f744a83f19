/* SPDX-License-Identifier: Apache-2.0 */
#include "isecl_fixture.h"

#include <check.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const uint8_t isecl_vector[76] = {0x49, 0x53, 0x65, 0x63, 0x4c, 0x2d, 0x56, 0x4d, 0x43, 0x00, 0x00,
                                  0x00, 0x2c, 0x00, 0x00, 0x00, 0x56, 0x31, 0x00, 0x00, 0x10, 0x11,
                                  0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x47,
                                  0x43, 0x4d, 0x2d, 0x32, 0x35, 0x36, 0x00, 0x00, 0x00, 0x00, 0x00,
                                  0x2c, 0xb8, 0xd1, 0xed, 0x49, 0xc9, 0x3a, 0xb3, 0xca, 0x75, 0x08,
                                  0x1d, 0x0f, 0x79, 0x69, 0x53, 0x00, 0x6c, 0xae, 0xdc, 0xc0, 0x4b,
                                  0x20, 0xe3, 0x16, 0x84, 0x5e, 0x30, 0xfc, 0xd1, 0x53, 0x5c};

struct wla_secret *isecl_key(uint8_t first) {
        struct wla_error err = {0};
        struct wla_secret *key = NULL;

        if (!CRYPTO_secure_malloc_initialized())
                ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(32, &key, &err), 0);
        for (size_t i = 0; i < 32; i++)
                wla_secret_fill(key)[i] = (uint8_t)(first + i);
        return key;
}

int isecl_file(const void *bytes, size_t size) {
        int fd = memfd_create("image", MFD_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
        return fd;
}

uint8_t isecl_plain_byte(uint64_t i) {
        return (uint8_t)(i * 7 + i / 251);
}

uint8_t *isecl_make(uint8_t first, const void *head, size_t head_size, size_t size) {
        uint8_t *image = calloc(1, ISECL_HEADER_SIZE + size + AES256_GCM_TAG);
        struct wla_secret *key = isecl_key(first);
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int written;

        ck_assert_ptr_nonnull(image);
        memcpy(image, isecl_vector, ISECL_HEADER_SIZE);
        for (size_t i = 0; i < size; i++)
                image[ISECL_HEADER_SIZE + i] = isecl_plain_byte(i);
        if (head_size > 0)
                memcpy(image + ISECL_HEADER_SIZE, head, head_size);

        ck_assert_int_eq(EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL,
                                            wla_secret_view(key).data, image + 20),
                         1);
        ck_assert_int_eq(EVP_EncryptUpdate(context, image + ISECL_HEADER_SIZE, &written,
                                           image + ISECL_HEADER_SIZE, (int)size),
                         1);
        ck_assert_int_eq(EVP_EncryptFinal_ex(context, image + ISECL_HEADER_SIZE + size, &written),
                         1);
        ck_assert_int_eq(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, AES256_GCM_TAG,
                                             image + ISECL_HEADER_SIZE + size),
                         1);
        EVP_CIPHER_CTX_free(context);
        (void)wla_secret_free(key);
        return image;
}
