/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail_allocation.h"
#include "image/cipher_source.h"
#include "image/image_convert.h"
#include "image/image_seal.h"
#include "memory_source.h"
#include "sample_image.h"

#define MIB 1048576u

ssize_t __real_pwrite64(int fd, const void *data, size_t size, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t at);
int __real_fallocate64(int fd, int mode, off_t at, off_t size);
int __wrap_fallocate64(int fd, int mode, off_t at, off_t size);

/* The disk is full from this byte on; 0: it has room. */
static off_t full_at;
static bool short_writes;

ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t at) {
        if (full_at > 0 && at + (off_t)size > full_at) {
                errno = ENOSPC;
                return -1;
        }
        return __real_pwrite64(fd, data, short_writes && size > 512 ? size / 2 : size, at);
}

/* As on a file system that does not know it, when the disk shall become full later. */
int __wrap_fallocate64(int fd, int mode, off_t at, off_t size) {
        if (full_at > 0) {
                errno = EOPNOTSUPP;
                return -1;
        }
        return __real_fallocate64(fd, mode, at, size);
}

static uint8_t *make_noise(size_t size) {
        uint8_t *bytes = malloc(size + 1);
        uint32_t state = 1;

        ck_assert_ptr_nonnull(bytes);
        for (size_t i = 0; i < size; i++)
                bytes[i] = (uint8_t)((state = state * 1664525 + 1013904223) >> 24);
        return bytes;
}

static struct disk_source source_of(int fd) {
        struct disk_source source;
        struct wla_error err = {0};

        ck_assert_int_eq(raw_source_open(dup(fd), &source, &err), 0);
        return source;
}

static struct luks2_header header_for(uint64_t size, bool sealed) {
        struct luks2_header header = {
                .kind = LUKS2_IMAGE,
                .uuid = sample_uuid(SAMPLE_UUID),
                .image = sample_image_token(),
        };

        header.image.size = image_ciphertext_size(size);
        header.image.virtual_size = size;
        header.image.sealed = sealed;
        return header;
}

static int encrypt(struct memory_disk *disk, const struct wla_secret *key, int fd,
                   struct luks2_header *header, struct wla_error *err) {
        const struct disk_source source = memory_source(disk);
        const struct image_encryption what = {
                .plaintext = &source,
                .volume_key = key,
                .header = header->uuid,
                .fd = fd,
        };

        return image_encrypt(&what, &header->image, err);
}

static int verify(int fd, const struct wla_secret *key, const struct luks2_header *header) {
        _cleanup_disk_source_ struct disk_source source = source_of(fd);
        const struct image_check what = {
                .ciphertext = &source, .volume_key = key, .header = header};
        struct wla_error err = {0};
        int outcome = image_verify(&what, &err);

        ck_assert(outcome == 0 || err.code == WLA_E_DENIED);
        return outcome;
}

START_TEST(what_was_encrypted_comes_back) {
        static const size_t sizes[] = {512,           4096,         4608,          MIB - 512,
                                       MIB,           MIB + 4096,   3 * MIB - 512, 4 * MIB,
                                       4 * MIB + 512, 9 * MIB + 512};
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                uint8_t *plain = make_noise(sizes[i]);
                uint8_t *back = malloc(sizes[i]);
                struct memory_disk disk = {.bytes = plain, .size = sizes[i]};
                struct luks2_header header = header_for(sizes[i], true);
                int fd = memfd_create("image", MFD_CLOEXEC);
                int out = memfd_create("disk", MFD_CLOEXEC);
                struct disk_source plaintext;
                struct wla_error err = {0};

                ck_assert_int_eq(encrypt(&disk, key, fd, &header, &err), 0);
                ck_assert_int_eq(lseek(fd, 0, SEEK_END), (off_t)header.image.size);
                ck_assert_int_eq(verify(fd, key, &header), 0);
                ck_assert_int_eq(image_probe_check(key, &header, fd, &err), 0);

                struct disk_source ciphertext = source_of(fd);
                ck_assert_int_eq(cipher_source_open(&ciphertext, key, &plaintext, &err), 0);
                plaintext.size = sizes[i];
                ck_assert_int_eq(image_write_sparse(&plaintext, out, NULL, &err), 0);
                disk_source_close(&plaintext);
                ck_assert_int_eq(lseek(out, 0, SEEK_END), (off_t)sizes[i]);
                ck_assert_int_eq(pread(out, back, sizes[i], 0), (ssize_t)sizes[i]);
                ck_assert_mem_eq(back, plain, sizes[i]);

                (void)close(fd);
                (void)close(out);
                free(plain);
                free(back);
        }
}
END_TEST

START_TEST(a_seal_tells_of_every_piece) {
        const size_t size = 4 * MIB + 4096;
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        _cleanup_secret_ struct wla_secret *other_key = sample_key(1, 64);
        uint8_t *plain = make_noise(size);
        struct memory_disk disk = {.bytes = plain, .size = size};
        struct luks2_header header = header_for(size, true);
        int fd = memfd_create("image", MFD_CLOEXEC);
        struct wla_error err = {0};
        uint8_t byte;

        ck_assert_int_eq(encrypt(&disk, key, fd, &header, &err), 0);
        for (off_t at = 1; at < (off_t)size; at += MIB / 2) {
                ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
                byte ^= 16;
                ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
                ck_assert_int_eq(verify(fd, key, &header), -1);
                byte ^= 16;
                ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
        }
        ck_assert_int_eq(verify(fd, key, &header), 0);
        ck_assert_int_eq(verify(fd, other_key, &header), -1);

        /* Two pieces that change places. */
        uint8_t *pieces = malloc(2 * MIB);
        ck_assert_int_eq(pread(fd, pieces, 2 * MIB, MIB), 2 * MIB);
        ck_assert_int_eq(pwrite(fd, pieces + MIB, MIB, MIB), MIB);
        ck_assert_int_eq(pwrite(fd, pieces, MIB, 2 * MIB), MIB);
        ck_assert_int_eq(verify(fd, key, &header), -1);
        free(pieces);

        struct luks2_header moved = header;
        moved.uuid.text[0] = '4';
        ck_assert_int_eq(verify(fd, key, &moved), -1);
        (void)close(fd);
        free(plain);
}
END_TEST

/* Order and number of workers must not matter to the seal. */
START_TEST(a_seal_is_a_sum) {
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        const struct uuid header = sample_uuid(SAMPLE_UUID);
        uint8_t *pieces = make_noise(2 * MIB);
        uint8_t seals[2][IMAGE_SEAL_SIZE];
        struct wla_error err = {0};

        for (int order = 0; order < 2; order++) {
                struct seal_sum sum = {0};

                for (uint64_t i = 0; i < 2; i++) {
                        uint64_t number = order ? 1 - i : i;
                        struct seal_accumulator *accumulator;

                        ck_assert_int_eq(seal_accumulator_new(key, &header, &accumulator, &err), 0);
                        ck_assert_int_eq(seal_begin_piece(accumulator, number, &err), 0);
                        for (size_t at = 0; at < MIB; at += order ? MIB : 4096)
                                ck_assert_int_eq(seal_add_part(accumulator,
                                                               pieces + number * MIB + at,
                                                               order ? MIB : 4096, &err),
                                                 0);
                        ck_assert_int_eq(seal_end_piece(accumulator, &err), 0);
                        seal_add_to(accumulator, &sum);
                        seal_accumulator_free(accumulator);
                }
                ck_assert_int_eq(seal_finish(key, &header, 2 * MIB, &sum, seals[order], &err), 0);
        }
        ck_assert_mem_eq(seals[0], seals[1], IMAGE_SEAL_SIZE);
        free(pieces);
}
END_TEST

/* What is read at once must not matter either, which is more than a piece. */
START_TEST(a_seal_is_that_of_its_pieces) {
        const size_t size = 9 * MIB + 4096;
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        uint8_t *bytes = make_noise(size);
        struct memory_disk disk = {.bytes = bytes, .size = size};
        struct luks2_header header = header_for(size, true);
        int fd = memfd_create("image", MFD_CLOEXEC);
        struct seal_accumulator *accumulator;
        struct seal_sum sum = {0};
        uint8_t seal[IMAGE_SEAL_SIZE];
        struct wla_error err = {0};

        ck_assert_int_eq(encrypt(&disk, key, fd, &header, &err), 0);
        ck_assert_int_eq(pread(fd, bytes, size, 0), (ssize_t)size);

        ck_assert_int_eq(seal_accumulator_new(key, &header.uuid, &accumulator, &err), 0);
        for (size_t at = 0; at < size; at += MIB) {
                ck_assert_int_eq(seal_begin_piece(accumulator, at / MIB, &err), 0);
                ck_assert_int_eq(seal_add_part(accumulator, bytes + at,
                                               size - at < MIB ? size - at : MIB, &err),
                                 0);
                ck_assert_int_eq(seal_end_piece(accumulator, &err), 0);
        }
        seal_add_to(accumulator, &sum);
        seal_accumulator_free(accumulator);
        ck_assert_int_eq(seal_finish(key, &header.uuid, size, &sum, seal, &err), 0);
        ck_assert_mem_eq(seal, header.image.seal, sizeof(seal));
        (void)close(fd);
        free(bytes);
}
END_TEST

START_TEST(failures_of_the_disk_come_through) {
        const size_t size = 20 * MIB;
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        uint8_t *plain = make_noise(size);
        struct memory_disk disk = {.bytes = plain, .size = size};
        struct luks2_header header = header_for(size, true);
        int fd = memfd_create("image", MFD_CLOEXEC);
        int small = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct wla_error err = {0};

        for (disk.fail_at = 1; disk.fail_at < size; disk.fail_at += 3 * MIB) {
                ck_assert_int_eq(encrypt(&disk, key, fd, &header, &err), -1);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "is damaged"));
        }
        disk.fail_at = 0;
        disk.changed = true;
        ck_assert_int_eq(encrypt(&disk, key, fd, &header, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        disk.changed = false;

        ck_assert_int_eq(ftruncate(small, MIB), 0);
        ck_assert_int_eq(fcntl(small, F_ADD_SEALS, F_SEAL_GROW), 0);
        ck_assert_int_eq(encrypt(&disk, key, small, &header, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_int_eq(encrypt(&disk, key, read_only, &header, &err), -1);
        (void)close(fd);
        (void)close(small);
        (void)close(read_only);
        free(plain);
}
END_TEST

START_TEST(a_disk_that_becomes_full_is_an_error) {
        const size_t size = 5 * MIB;
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        uint8_t *plain = make_noise(size);
        struct memory_disk disk = {.bytes = plain, .size = size};
        const struct disk_source source = memory_source(&disk);
        struct luks2_header header = header_for(size, true);
        int fd = memfd_create("image", MFD_CLOEXEC);
        struct wla_error err = {0};

        for (full_at = 1; full_at < (off_t)size; full_at += MIB) {
                ck_assert_int_eq(encrypt(&disk, key, fd, &header, &err), -1);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "No space left on device"));
                ck_assert_int_eq(image_write_sparse(&source, fd, NULL, &err), -1);
        }
        full_at = 0;
        short_writes = true;
        ck_assert_int_eq(encrypt(&disk, key, fd, &header, &err), 0);
        ck_assert_int_eq(verify(fd, key, &header), 0);
        short_writes = false;
        (void)close(fd);
        free(plain);
}
END_TEST

static struct {
        uint64_t done;
        uint64_t size;
        unsigned calls;
} shown;

static void show(void *userdata, uint64_t done, uint64_t size) {
        ck_assert_ptr_eq(userdata, &shown);
        ck_assert_uint_ge(done, shown.done);
        shown.done = done;
        shown.size = size;
        shown.calls++;
}

START_TEST(progress_ends_at_the_end) {
        const size_t size = 5 * MIB + 512;
        uint8_t *zeros = calloc(1, size);
        struct memory_disk disk = {.bytes = zeros, .size = size};
        const struct disk_source source = memory_source(&disk);
        const struct image_progress progress = {.show = show, .userdata = &shown};
        int fd = memfd_create("disk", MFD_CLOEXEC);
        struct wla_error err = {0};
        struct stat status;

        ck_assert_int_eq(image_write_sparse(&source, fd, &progress, &err), 0);
        ck_assert_uint_eq(shown.done, size);
        ck_assert_uint_eq(shown.size, size);
        ck_assert_uint_ge(shown.calls, 1);
        ck_assert_int_eq(fstat(fd, &status), 0);
        ck_assert_int_eq(status.st_size, (off_t)size);
        ck_assert_int_eq(status.st_blocks, 0);
        (void)close(fd);
        free(zeros);
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        const size_t size = 2 * MIB;
        _cleanup_secret_ struct wla_secret *key = sample_key(0, 64);
        uint8_t *plain = make_noise(size);
        struct memory_disk disk = {.bytes = plain, .size = size};
        struct luks2_header header = header_for(size, true);
        int fd = memfd_create("image", MFD_CLOEXEC);
        struct wla_error err = {0};

        ck_assert_int_eq(encrypt(&disk, key, fd, &header, &err), 0);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int outcome = encrypt(&disk, key, fd, &header, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct disk_source ciphertext = {0};
                struct disk_source plaintext = {0};
                int outcome = raw_source_open(dup(fd), &ciphertext, &err);

                if (outcome == 0)
                        outcome = cipher_source_open(&ciphertext, key, &plaintext, &err);
                if (outcome == 0) {
                        struct disk_reader reader;

                        outcome = disk_reader_open(&plaintext, &reader, &err);
                        if (outcome == 0)
                                disk_reader_close(&reader);
                }
                fail_allocation_disarm();
                disk_source_close(&plaintext);
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
        (void)close(fd);
        free(plain);
}
END_TEST

SUITE_MAIN("image_convert", what_was_encrypted_comes_back, a_seal_tells_of_every_piece,
           a_seal_is_a_sum, a_seal_is_that_of_its_pieces, failures_of_the_disk_come_through,
           a_disk_that_becomes_full_is_an_error, progress_ends_at_the_end,
           failed_allocations_are_errors)
