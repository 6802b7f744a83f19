/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <libcryptsetup.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail_allocation.h"
#include "image/header_writer.h"
#include "sample_header.h"
#include "sample_image.h"

static int write_sample(const struct wla_secret *key, const struct image_token *token,
                        struct buf *bytes, struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        struct uuid uuid = {SAMPLE_UUID};

        if (image_token_write(token, &json, err) < 0)
                return -1;

        const struct header_content content = {.uuid = uuid, .volume_key = key, .token = &json};
        return header_write(&content, bytes, err);
}

START_TEST(the_digest_is_of_the_key) {
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        _cleanup_sample_header_ struct sample_header bytes = sample_header_make(SAMPLE_IMAGE);
        int fd = memfd_create("header", MFD_CLOEXEC);
        struct crypt_device *device = NULL;
        char path[32];
        char other[64];

        ck_assert_int_eq(write(fd, bytes.bytes, bytes.size), (ssize_t)bytes.size);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ck_assert_int_eq(crypt_init_data_device(&device, path, path), 0);
        ck_assert_int_eq(crypt_load(device, CRYPT_LUKS2, NULL), 0);
        memcpy(other, wla_secret_view(key).data, sizeof(other));
        ck_assert_int_eq(crypt_volume_key_verify(device, other, sizeof(other)), 0);
        other[63] ^= 1;
        crypt_set_log_callback(device, NULL, NULL);
        ck_assert_int_eq(crypt_volume_key_verify(device, other, sizeof(other)), -EPERM);
        crypt_free(device);
        (void)close(fd);
}
END_TEST

START_TEST(no_key_is_in_it) {
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        _cleanup_sample_header_ struct sample_header bytes = sample_header_make(SAMPLE_IMAGE);

        for (size_t i = 0; i + 16 < bytes.size; i++)
                ck_assert(memcmp(bytes.bytes + i, wla_secret_view(key).data, 16) != 0);
}
END_TEST

START_TEST(a_token_that_would_not_be_read_is_not_written) {
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(2 * IMAGE_HEADER_SIZE);
        static const char *const tokens[] = {
                "",
                "{}",
                "{\"type\":\"other\",\"keyslots\":[]}",
                "{\"type\":\"wlagent-image\",\"keyslots\":[]}",
                "{\"type\":\"wlagent-image\",\"keyslots\":[\"0\"]}",
        };

        for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
                _cleanup_buf_ struct buf token = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
                const struct header_content content = {
                        .uuid = {SAMPLE_UUID}, .volume_key = key, .token = &token};
                struct wla_error err = {0};

                ck_assert_int_eq(buf_append_text(&token, tokens[i], &err), 0);
                ck_assert_int_eq(header_write(&content, &bytes, &err), -1);
                ck_assert_uint_eq(bytes.size, 0);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "making a header: "));
        }
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        const struct image_token token = sample_image_token();

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
                struct wla_error err = {0};
                int outcome = write_sample(key, &token, &bytes, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                ck_assert_uint_eq(bytes.size, outcome == 0 ? IMAGE_HEADER_SIZE : 0);
        }
}
END_TEST

START_TEST(a_full_table_of_files_is_an_error) {
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
        const struct image_token token = sample_image_token();
        struct wla_error err = {0};
        int last;
        int count = 0;

        while ((last = dup(STDERR_FILENO)) >= 0)
                count = last;
        for (int freed = 0; freed < 3; freed++) {
                int outcome = write_sample(key, &token, &bytes, &err);

                ck_assert_int_eq(outcome, -1);
                ck_assert_int_eq(err.code, WLA_E_SYSTEM);
                (void)close(count - freed);
        }
        for (int fd = count; fd > STDERR_FILENO; fd--)
                (void)close(fd);
}
END_TEST

SUITE_MAIN("header_writer", the_digest_is_of_the_key, no_key_is_in_it,
           a_token_that_would_not_be_read_is_not_written, failed_allocations_are_errors,
           a_full_table_of_files_is_an_error)
