/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys and tokens that the image tests share. */

#include <check.h>
#include <openssl/crypto.h>
#include <string.h>

#include "image/volume_key.h"

#define SAMPLE_UUID    "3d0f1c3e-1111-4222-8333-444455556666"
#define SAMPLE_VM      "11111111-2222-4333-8444-555555555555"
#define SAMPLE_SIZE    1048576u
#define SAMPLE_CONTENT ((size_t)SAMPLE_SIZE)

/* The bytes first, first + 1, ... */
static inline struct wla_secret *sample_key(uint8_t first, size_t size) {
        struct wla_error err = {0};
        struct wla_secret *key = NULL;

        if (!CRYPTO_secure_malloc_initialized())
                ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(size, &key, &err), 0);
        for (size_t i = 0; i < size; i++)
                wla_secret_fill(key)[i] = (uint8_t)(first + i);
        return key;
}

static inline struct uuid sample_uuid(const char *text) {
        struct wla_error err = {0};
        struct uuid uuid = {0};

        ck_assert_int_eq(uuid_parse(text, strlen(text), &uuid, &err), 0);
        return uuid;
}

static inline struct image_token sample_image_token(void) {
        struct image_token token = {
                .content = IMAGE_CONTENT_RAW,
                .size = SAMPLE_SIZE,
                .virtual_size = SAMPLE_SIZE,
        };
        struct wla_error err = {0};

        ck_assert_int_eq(key_id_local("web", &token.key_id, &err), 0);
        for (size_t i = 0; i < sizeof(token.probe); i++)
                token.probe[i] = (uint8_t)(i * 5);
        return token;
}

static inline struct layer_token sample_layer_token(void) {
        struct layer_token token = {
                .vm = sample_uuid(SAMPLE_VM),
                .image = sample_uuid(SAMPLE_UUID),
                .target = "vda",
        };

        return token;
}
