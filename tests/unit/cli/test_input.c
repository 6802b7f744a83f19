/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/input.h"

/* A file that the name leads to as long as the descriptor is open. */
static int make_file(const void *data, size_t size, char path[static 32]) {
        int fd = memfd_create("input", MFD_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
        (void)snprintf(path, 32, "/proc/self/fd/%d", fd);
        return fd;
}

START_TEST(reads_up_to_the_limit) {
        static const char text[10000];
        _cleanup_buf_ struct buf exact = BUF_WITH_LIMIT(sizeof(text));
        _cleanup_buf_ struct buf roomy = BUF_WITH_LIMIT(sizeof(text) * 2);
        _cleanup_buf_ struct buf tight = BUF_WITH_LIMIT(sizeof(text) - 1);
        struct wla_error err = {0};
        char path[32];
        char expected[80];

        int fd = make_file(text, sizeof(text), path);
        ck_assert_int_eq(input_read(path, &exact, &err), 0);
        ck_assert_uint_eq(exact.size, sizeof(text));
        ck_assert_int_eq(input_read(path, &roomy, &err), 0);
        ck_assert_uint_eq(roomy.size, sizeof(text));

        ck_assert_int_eq(input_read(path, &tight, &err), -1);
        (void)snprintf(expected, sizeof(expected), "%s holds more than 9999 bytes", path);
        ck_assert_str_eq(wla_error_text(&err), expected);
        (void)close(fd);
}
END_TEST

START_TEST(names_what_cannot_be_read) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(100);
        struct wla_error err = {0};

        ck_assert_int_eq(input_read("/nonexistent/key", &content, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_str_eq(wla_error_text(&err), "/nonexistent/key does not exist");
        ck_assert_int_eq(input_read("/tmp", &content, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "cannot read /tmp: Is a directory");
        ck_assert_str_eq(input_name("-"), "standard input");
        ck_assert_str_eq(input_name("x"), "x");
}
END_TEST

START_TEST(a_raw_key_has_one_size) {
        static const uint8_t data[40] = {1, 2, 3};
        static const size_t sizes[] = {0, 31, 32, 33, 40};
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                struct wla_secret *secret = NULL;
                char path[32];

                int fd = make_file(data, sizes[i], path);
                int outcome = input_read_secret(path, 32, "use another", &secret, &err);
                ck_assert_int_eq(outcome, sizes[i] == 32 ? 0 : -1);
                if (outcome == 0)
                        ck_assert_mem_eq(wla_secret_view(secret).data, data, 32);
                else
                        ck_assert_ptr_nonnull(strstr(wla_error_text(&err),
                                                     sizes[i] > 32
                                                             ? "holds more than the 32 bytes"
                                                             : "holds less than the 32 bytes"));
                ck_assert(outcome == 0 || strcmp(err.hint, "use another") == 0);
                (void)wla_secret_free(secret);
                (void)close(fd);
        }
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
}
END_TEST

START_TEST(allocations_may_fail) {
        static const char text[10000];
        char path[32];

        int fd = make_file(text, sizeof(text), path);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(sizeof(text));
                struct wla_error err = {0};

                int outcome = input_read(path, &content, &err);
                fail_allocation_disarm();
                ck_assert(outcome < 0 || !fail_allocation_hit());
        }
        (void)close(fd);
}
END_TEST

SUITE_MAIN("input", reads_up_to_the_limit, names_what_cannot_be_read, a_raw_key_has_one_size,
           allocations_may_fail)
