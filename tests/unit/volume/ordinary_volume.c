/* SPDX-License-Identifier: Apache-2.0 */
#include "ordinary_volume.h"

#include <check.h>
#include <libcryptsetup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/sector_cipher.h"

struct wla_secret *ordinary_secret(const char *text) {
        struct wla_error err = {0};
        struct wla_secret *secret = NULL;

        ck_assert_int_eq(wla_secret_pages_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(32, &secret, &err), 0);
        memcpy(wla_secret_fill(secret), text, 32);
        return secret;
}

uint8_t ordinary_byte(uint64_t i) {
        return (uint8_t)(i * 11 + i / 253);
}

static void keep_quiet(int level, const char *message, void *userdata) {
        (void)level;
        (void)message;
        (void)userdata;
}

static void add_keyslots(struct crypt_device *device, const struct ordinary_volume *volume) {
        if (volume->empty_passphrase)
                ck_assert_int_eq(crypt_keyslot_add_by_volume_key(device, 0, NULL, 0, "", 0), 0);
        if (volume->passphrase)
                ck_assert_int_eq(
                        crypt_keyslot_add_by_volume_key(device, 1, NULL, 0, volume->passphrase, 32),
                        1);
}

static void format(struct crypt_device *device, const struct ordinary_volume *volume,
                   const struct wla_secret *key) {
        const struct crypt_pbkdf_type pbkdf2 = {
                .type = CRYPT_KDF_PBKDF2,
                .hash = "sha256",
                .iterations = volume->iterations ? volume->iterations : 1000,
                .flags = CRYPT_PBKDF_NO_BENCHMARK,
        };
        const struct crypt_pbkdf_type argon2id = {
                .type = CRYPT_KDF_ARGON2ID,
                .hash = "sha256",
                .iterations = 4,
                .max_memory_kb = volume->argon2_memory,
                .parallel_threads = 1,
                .flags = CRYPT_PBKDF_NO_BENCHMARK,
        };
        struct crypt_params_luks2 params = {
                .pbkdf = volume->argon2_memory ? &argon2id : &pbkdf2,
                .sector_size = volume->sector_size ? volume->sector_size : 512,
        };
        struct wla_bytes bytes = wla_secret_view(key);

        ck_assert_int_eq(crypt_set_data_offset(device, ORDINARY_DATA_OFFSET / 512), 0);
        ck_assert_int_eq(crypt_format(device, CRYPT_LUKS2, "aes", "xts-plain64", NULL,
                                      (const char *)bytes.data, bytes.size, &params),
                         0);
}

static void write_data(int fd, const struct ordinary_volume *volume, const struct wla_secret *key) {
        struct sector_cipher *cipher = NULL;
        uint8_t *data = malloc(volume->data_size + 1);
        struct wla_error err = {0};

        for (size_t i = 0; i < volume->data_size; i++)
                data[i] = ordinary_byte(i);
        ck_assert_int_eq(sector_cipher_new(key, volume->sector_size ? volume->sector_size : 512,
                                           SECTOR_ENCRYPT, &cipher, &err),
                         0);
        ck_assert_int_eq(sector_cipher_run(cipher, 0, data, volume->data_size, &err), 0);
        ck_assert_int_eq(pwrite(fd, data, volume->data_size, ORDINARY_DATA_OFFSET),
                         (ssize_t)volume->data_size);
        (void)sector_cipher_free(cipher);
        free(data);
}

void ordinary_volume_make(int fd, const struct ordinary_volume *volume) {
        struct crypt_device *device = NULL;
        struct wla_secret *key = NULL;
        struct wla_error err = {0};
        char path[32];
        size_t key_size = volume->volume_key_size ? volume->volume_key_size : 64;

        (void)wla_secret_free(ordinary_secret(ORDINARY_KEY));
        ck_assert_int_eq(wla_secret_new(key_size, &key, &err), 0);
        for (size_t i = 0; i < key_size; i++)
                wla_secret_fill(key)[i] = (uint8_t)(i * 5 + 1);

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ck_assert_int_eq(ftruncate(fd, (off_t)(ORDINARY_DATA_OFFSET + volume->data_size)), 0);
        ck_assert_int_eq(crypt_init(&device, path), 0);
        crypt_set_log_callback(device, keep_quiet, NULL);
        format(device, volume, key);
        add_keyslots(device, volume);
        crypt_free(device);
        write_data(fd, volume, key);
        (void)wla_secret_free(key);
}

struct luks2_header ordinary_header(int fd) {
        uint8_t *bytes = malloc(LUKS2_HEADER_MAX);
        struct luks2_header header;
        struct wla_error err = {0};

        ck_assert_int_eq(pread(fd, bytes, LUKS2_HEADER_MAX, 0), LUKS2_HEADER_MAX);
        ck_assert_msg(luks2_header_check(bytes, LUKS2_HEADER_MAX, &header, &err) == 0, "%s",
                      wla_error_text(&err));
        free(bytes);
        return header;
}
