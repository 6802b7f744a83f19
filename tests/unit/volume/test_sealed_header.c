/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/sealed_header.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scratch.h"
#include "suite.h"

static int file_of(const struct scratch *scratch, off_t size) {
        int fd = open(scratch_file(scratch, "header"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
                      0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ftruncate(fd, size), 0);
        ck_assert_int_eq(pwrite(fd, "LUKS", 4, 0), 4);
        return fd;
}

START_TEST(nobody_can_change_the_copy) {
        struct scratch scratch;
        struct sealed_header header = SEALED_HEADER_NONE;
        struct wla_error err = {0};

        scratch_make(&scratch);
        int fd = file_of(&scratch, 100000);
        ck_assert_int_eq(sealed_header_copy(fd, true, &header, &err), 0);
        ck_assert_uint_eq(header.size, 100000);
        ck_assert_int_eq(pwrite(fd, "luks", 4, 0), 4);
        ck_assert_mem_eq(header.bytes, "LUKS\0", 5);

        ck_assert_int_eq(pwrite(header.fd, "x", 1, 0), -1);
        ck_assert_int_eq(errno, EPERM);
        ck_assert_int_eq(ftruncate(header.fd, 10), -1);
        ck_assert_int_eq(ftruncate(header.fd, 200000), -1);
        ck_assert_int_eq(fcntl(header.fd, F_GET_SEALS),
                         F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        ck_assert_ptr_eq(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, header.fd, 0), MAP_FAILED);
        sealed_header_clear(&header);
        ck_assert_int_eq(header.fd, -1);

        ck_assert_int_eq(sealed_header_make("abcdef", 6, &header, &err), 0);
        ck_assert_uint_eq(header.size, 6);
        ck_assert_mem_eq(header.bytes, "abcdef", 6);
        sealed_header_clear(&header);
        (void)close(fd);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(sizes_are_bounded) {
        static const struct {
                off_t size;
                bool whole;
                size_t copied; /* 0: refused */
        } cases[] = {
                {4, true, 0},
                {4095, true, 0},
                {4096, true, 4096},
                {LUKS2_HEADER_MAX, true, LUKS2_HEADER_MAX},
                {LUKS2_HEADER_MAX + 1, true, 0},
                {LUKS2_HEADER_MAX + 1, false, LUKS2_HEADER_MAX},
                {(off_t)1 << 40, false, LUKS2_HEADER_MAX},
        };
        struct scratch scratch;

        scratch_make(&scratch);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct sealed_header header = SEALED_HEADER_NONE;
                struct wla_error err = {0};
                int fd = file_of(&scratch, cases[i].size);

                int r = sealed_header_copy(fd, cases[i].whole, &header, &err);
                ck_assert_int_eq(r, cases[i].copied > 0 ? 0 : -1);
                ck_assert_uint_eq(header.size, cases[i].copied);
                if (r < 0)
                        ck_assert_int_eq(err.code, WLA_E_INPUT);
                sealed_header_clear(&header);
                (void)close(fd);
        }
        scratch_remove(&scratch);
}
END_TEST

START_TEST(only_regular_files_are_read) {
        struct sealed_header header = SEALED_HEADER_NONE;
        struct wla_error err = {0};
        int fds[2];

        ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
        ck_assert_int_eq(sealed_header_copy(fds[0], true, &header, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        (void)close(fds[0]);
        (void)close(fds[1]);
        int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(sealed_header_copy(zero, false, &header, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        (void)close(zero);
        ck_assert_int_eq(sealed_header_copy(-1, true, &header, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        int path = open("/etc/passwd", O_PATH | O_CLOEXEC);
        ck_assert_int_eq(sealed_header_copy(path, false, &header, &err), -1);
        (void)close(path);
        ck_assert_int_eq(header.fd, -1);
}
END_TEST

SUITE_MAIN("volume/sealed_header", nobody_can_change_the_copy, sizes_are_bounded,
           only_regular_files_are_read)
