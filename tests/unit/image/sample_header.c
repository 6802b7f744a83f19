/* SPDX-License-Identifier: Apache-2.0 */
#include "sample_header.h"

#include <check.h>
#include <libcryptsetup.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/header_writer.h"
#include "sample_image.h"

#define ORDINARY_KEYSLOTS (512u * 1024u)

static void keep_quiet(int level, const char *message, void *userdata) {
        (void)level;
        (void)message;
        (void)userdata;
}

static struct sample_header ours(enum sample sample) {
        struct sample_header header = {.bytes = malloc(IMAGE_HEADER_SIZE),
                                       .size = IMAGE_HEADER_SIZE};
        _cleanup_secret_ struct wla_secret *key = sample_key(0, VOLUME_KEY_SIZE);
        _cleanup_buf_ struct buf token = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
        struct image_token image_token = sample_image_token();
        struct layer_token layer_token = sample_layer_token();
        struct wla_error err = {0};

        image_token.sealed = sample == SAMPLE_SEALED;
        if (sample == SAMPLE_LAYER)
                ck_assert_int_eq(layer_token_write(&layer_token, &token, &err), 0);
        else
                ck_assert_int_eq(image_token_write(&image_token, &token, &err), 0);

        const struct header_content content = {
                .uuid = sample_uuid(SAMPLE_UUID),
                .volume_key = key,
                .token = &token,
        };
        ck_assert_msg(header_write(&content, &bytes, &err) == 0, "%s", wla_error_text(&err));
        ck_assert_uint_eq(bytes.size, IMAGE_HEADER_SIZE);
        memcpy(header.bytes, bytes.data, bytes.size);
        return header;
}

static void format_ordinary(struct crypt_device *device, enum sample sample, const char *data) {
        const struct crypt_pbkdf_type pbkdf2 = {
                .type = CRYPT_KDF_PBKDF2,
                .hash = "sha512",
                .iterations = 1000,
                .flags = CRYPT_PBKDF_NO_BENCHMARK,
        };
        const struct crypt_pbkdf_type argon2id = {
                .type = CRYPT_KDF_ARGON2ID,
                .hash = "sha256",
                .iterations = 4,
                .max_memory_kb = 64,
                .parallel_threads = 1,
                .flags = CRYPT_PBKDF_NO_BENCHMARK,
        };
        struct crypt_params_luks2 params = {
                .pbkdf = sample == SAMPLE_PBKDF2 ? &pbkdf2 : &argon2id,
                .data_device = sample == SAMPLE_PBKDF2 ? data : NULL,
                .sector_size = sample == SAMPLE_PBKDF2 ? 512 : 4096,
        };
        int slots = sample == SAMPLE_PBKDF2 ? 2 : 1;

        if (sample == SAMPLE_PBKDF2) {
                ck_assert_int_eq(crypt_set_metadata_size(device, 32768, 2 * ORDINARY_KEYSLOTS), 0);
                ck_assert_int_eq(crypt_set_data_offset(device, 0), 0);
        }
        ck_assert_int_eq(crypt_format(device, CRYPT_LUKS2, "aes", "xts-plain64", SAMPLE_UUID, NULL,
                                      sample == SAMPLE_PBKDF2 ? 32 : 64, &params),
                         0);
        for (int i = 0; i < slots; i++)
                ck_assert_int_eq(crypt_keyslot_add_by_volume_key(device, i, NULL, 0, "pass", 4), i);
        if (sample == SAMPLE_PBKDF2)
                ck_assert_int_eq(crypt_keyslot_set_priority(device, 1, CRYPT_SLOT_PRIORITY_PREFER),
                                 0);
}

static struct sample_header ordinary(enum sample sample) {
        size_t size = sample == SAMPLE_PBKDF2 ? 65536 + 2 * ORDINARY_KEYSLOTS : LUKS2_HEADER_MAX;
        struct sample_header header = {.bytes = malloc(size), .size = size};
        int fd = memfd_create("header", MFD_CLOEXEC);
        int data = memfd_create("data", MFD_CLOEXEC);
        struct crypt_device *device = NULL;
        char path[32];
        char data_path[32];

        ck_assert_ptr_nonnull(header.bytes);
        ck_assert_int_eq(ftruncate(fd, (off_t)size + 1048576), 0);
        ck_assert_int_eq(ftruncate(data, 1048576), 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void)snprintf(data_path, sizeof(data_path), "/proc/self/fd/%d", data);
        ck_assert_int_eq(crypt_init(&device, path), 0);
        crypt_set_log_callback(device, keep_quiet, NULL);
        format_ordinary(device, sample, data_path);
        crypt_free(device);
        ck_assert_int_eq(pread(fd, header.bytes, size, 0), (ssize_t)size);
        (void)close(fd);
        (void)close(data);
        return header;
}

struct sample_header sample_header_make(enum sample sample) {
        return sample < SAMPLE_PBKDF2 ? ours(sample) : ordinary(sample);
}

void sample_header_clear(struct sample_header *header) {
        free(header->bytes);
        *header = (struct sample_header){0};
}

static bool agrees(struct crypt_device *device, const struct luks2_header *header) {
        return strcmp(crypt_get_cipher(device), "aes") == 0 &&
               strcmp(crypt_get_cipher_mode(device), "xts-plain64") == 0 &&
               strcmp(crypt_get_uuid(device), header->uuid.text) == 0 &&
               crypt_get_data_offset(device) * 512 == header->data_offset &&
               crypt_get_iv_offset(device) == 0 &&
               crypt_get_sector_size(device) == (int)header->sector_size &&
               (header->kind != LUKS2_ORDINARY ||
                crypt_get_volume_key_size(device) == (int)header->volume_key_size);
}

int sample_header_compare(const struct sample_header *bytes, const struct luks2_header *header) {
        int fd = memfd_create("header", MFD_CLOEXEC);
        struct crypt_device *device = NULL;
        char path[32];
        int outcome = 0;

        /* What is far behind the JSON does not matter to crypt_load(). */
        size_t size = bytes->size < 65536 ? bytes->size : 65536;
        ck_assert_int_eq(write(fd, bytes->bytes, size), (ssize_t)size);
        ck_assert_int_eq(ftruncate(fd, (off_t)bytes->size), 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ck_assert_int_eq(crypt_init_data_device(&device, path, path), 0);
        crypt_set_log_callback(device, keep_quiet, NULL);
        if (crypt_load(device, CRYPT_LUKS2, NULL) == 0)
                outcome = agrees(device, header) ? 1 : -1;
        crypt_free(device);
        (void)close(fd);
        return outcome;
}
