/* SPDX-License-Identifier: Apache-2.0 */
#include "image/isecl_encrypt.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/file.h"
#include "fail_allocation.h"
#include "image/isecl_decrypt.h"
#include "isecl_fixture.h"
#include "memory_source.h"
#include "suite.h"

ssize_t __real_pwrite64(int fd, const void *data, size_t size, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t at);
int __real_fallocate64(int fd, int mode, off_t at, off_t size);
int __wrap_fallocate64(int fd, int mode, off_t at, off_t size);

static off_t full_at; /* the disk is full from this byte on; 0: it has room */
static int room_errno;

ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t at) {
        if (full_at > 0 && at + (off_t)size > full_at) {
                errno = ENOSPC;
                return -1;
        }
        return __real_pwrite64(fd, data, size, at);
}

int __wrap_fallocate64(int fd, int mode, off_t at, off_t size) {
        if (room_errno != 0) {
                errno = room_errno;
                return -1;
        }
        return __real_fallocate64(fd, mode, at, size);
}

static int encrypt(struct memory_disk *disk, int fd, uint8_t digest[SHA384_SIZE],
                   struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *key = isecl_key(0);
        const struct disk_source source = memory_source(disk);
        struct isecl_encryption what = {.plaintext = &source, .key = key, .fd = fd};

        for (size_t i = 0; i < sizeof(what.nonce); i++)
                what.nonce[i] = (uint8_t)(0x10 + i);
        return isecl_encrypt(&what, digest, err);
}

START_TEST(the_vector) {
        static const uint8_t plain[16] = {'Q', 'F', 'I', 0xfb};
        static const char expected[] =
                "lOPONeU0mvyH+nU+FVwrzki6yR486rQ/V0Kx3bYxWcasYAIr9BP0VXWxusZGn7bx";
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(128);
        _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
        struct memory_disk disk = {.bytes = plain, .size = sizeof(plain)};
        uint8_t digest[SHA384_SIZE];
        uint8_t file[100];
        struct wla_error err = {0};

        ck_assert_int_eq(encrypt(&disk, fd, digest, &err), 0);
        ck_assert_int_eq(pread(fd, file, sizeof(file), 0), sizeof(isecl_vector));
        ck_assert_mem_eq(file, isecl_vector, sizeof(isecl_vector));
        ck_assert_int_eq(base64_append(&text, digest, sizeof(digest), &err), 0);
        ck_assert_str_eq(buf_text(&text, &err), expected);
}
END_TEST

struct compared {
        const uint8_t *bytes;
        uint64_t size;
};

static int compare(void *self, struct wla_secret *plain, size_t size, uint64_t at,
                   struct wla_error *err) {
        struct compared *to = self;

        to->size += size;
        if (memcmp(wla_secret_view(plain).data, to->bytes + at, size) != 0)
                return wla_fail(err, WLA_E_INPUT, "another plaintext at %ju", (uintmax_t)at);
        return 0;
}

static void expect_opens(int fd, const struct memory_disk *disk) {
        _cleanup_secret_ struct wla_secret *key = isecl_key(0);
        struct compared to = {.bytes = disk->bytes};
        const struct isecl_sink sink = {.self = &to, .write = compare};
        struct isecl_image image;
        struct wla_error err = {0};

        ck_assert_int_eq(isecl_image_read(fd, &image, &err), 0);
        ck_assert_uint_eq(image.data_offset, ISECL_HEADER_SIZE);
        ck_assert_msg(isecl_decrypt(fd, &image, key, &sink, &err) == 0, "%s", wla_error_text(&err));
        ck_assert_uint_eq(to.size, disk->size);
}

static void expect_digest(int fd, uint64_t size, const uint8_t digest[SHA384_SIZE]) {
        _cleanup_free_ uint8_t *file = malloc(size);
        uint8_t expected[SHA384_SIZE];

        ck_assert_int_eq(pread(fd, file, size, 0), (ssize_t)size);
        ck_assert_int_eq(EVP_Digest(file, size, expected, NULL, EVP_sha384(), NULL), 1);
        ck_assert_mem_eq(digest, expected, SHA384_SIZE);
}

START_TEST(sizes_around_a_piece) {
        static const size_t sizes[] = {
                1, 15, 16, 17, 4096, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, 3 * (1u << 20) + 17};
        _cleanup_free_ uint8_t *bytes = malloc(4u << 20);

        for (size_t i = 0; i < (4u << 20); i++)
                bytes[i] = isecl_plain_byte(i);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
                struct memory_disk disk = {.bytes = bytes, .size = sizes[i]};
                uint8_t digest[SHA384_SIZE];
                struct wla_error err = {0};

                ck_assert_int_eq(encrypt(&disk, fd, digest, &err), 0);
                ck_assert_int_eq(lseek(fd, 0, SEEK_END), (off_t)sizes[i] + 60);
                expect_opens(fd, &disk);
                expect_digest(fd, sizes[i] + 60, digest);
        }
}
END_TEST

START_TEST(limits) {
        static const struct {
                uint64_t size;
                int outcome;
        } rows[] = {
                {0, -1}, {1, 0}, {ISECL_PLAIN_MAX, 0}, {ISECL_PLAIN_MAX + 1, -1}, {UINT64_MAX, -1},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct memory_disk disk = {.bytes = isecl_vector, .size = rows[i].size};
                uint8_t digest[SHA384_SIZE];
                struct wla_error err = {0};

                ck_assert_int_eq(isecl_size_check(rows[i].size, &err), rows[i].outcome);
                if (rows[i].outcome == 0)
                        continue;
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                /* Nothing is read or written. */
                ck_assert_int_eq(encrypt(&disk, -1, digest, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
        }
}
END_TEST

START_TEST(nonces_differ) {
        uint8_t first[AES256_GCM_NONCE];
        uint8_t second[AES256_GCM_NONCE];
        struct wla_error err = {0};

        ck_assert_int_eq(isecl_nonce_make(first, &err), 0);
        ck_assert_int_eq(isecl_nonce_make(second, &err), 0);
        ck_assert_mem_ne(first, second, sizeof(first));
}
END_TEST

START_TEST(faults) {
        _cleanup_free_ uint8_t *bytes = calloc(1, 3u << 20);
        struct memory_disk disk = {.bytes = bytes, .size = 3u << 20};
        _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
        uint8_t digest[SHA384_SIZE];
        struct wla_error err = {0};

        disk.fail_at = 2u << 20;
        ck_assert_int_eq(encrypt(&disk, fd, digest, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "byte 2097152 is damaged");
        disk.fail_at = 0;

        disk.changed = true;
        ck_assert_int_eq(encrypt(&disk, fd, digest, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "the disk has changed");
        disk.changed = false;

        room_errno = ENOSPC;
        ck_assert_int_eq(encrypt(&disk, fd, digest, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "there is no room for 3145788 bytes"));

        /* In the header, in the midst, in the tag. */
        static const off_t full[] = {20, 1u << 20, (3u << 20) + 50};
        room_errno = EOPNOTSUPP;
        for (size_t i = 0; i < 3; i++) {
                full_at = full[i];
                ck_assert_int_eq(encrypt(&disk, fd, digest, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_SYSTEM);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "cannot write at byte"));
        }
        full_at = 0;
        ck_assert_int_eq(encrypt(&disk, fd, digest, &err), 0);
        room_errno = 0;
}
END_TEST

START_TEST(keys_of_another_size) {
        _cleanup_secret_ struct wla_secret *key = isecl_key(0);
        struct memory_disk disk = {.bytes = isecl_vector, .size = 16};
        const struct disk_source source = memory_source(&disk);
        const struct isecl_encryption what = {.plaintext = &source, .key = key, .fd = -1};
        uint8_t digest[SHA384_SIZE];
        struct wla_error err = {0};

        wla_secret_truncate(key, 16);
        ck_assert_int_eq(isecl_encrypt(&what, digest, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "the key has 16 bytes where AES-256 needs 32");
}
END_TEST

START_TEST(without_memory) {
        struct memory_disk disk = {.bytes = isecl_vector, .size = 16};
        _cleanup_secret_ struct wla_secret *key = isecl_key(0);
        const struct disk_source source = memory_source(&disk);
        struct wla_error err = {0};
        unsigned failures = 0;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int fd = memfd_create("image", MFD_CLOEXEC);
                const struct isecl_encryption what = {.plaintext = &source, .key = key, .fd = fd};
                uint8_t digest[SHA384_SIZE];

                int outcome = isecl_encrypt(&what, digest, &err);
                fail_allocation_disarm();
                failures += outcome < 0;
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                (void)close(fd);
        }
        ck_assert_uint_ge(failures, 2);
}
END_TEST

SUITE_MAIN("isecl_encrypt", the_vector, sizes_around_a_piece, limits, nonces_differ, faults,
           keys_of_another_size, without_memory)
