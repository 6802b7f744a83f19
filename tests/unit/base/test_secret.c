/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/secret.h"

START_TEST(lives_in_the_secure_heap_and_is_wiped) {
        struct wla_error err = {0};
        struct wla_secret *secret = NULL;

        ck_assert_int_eq(wla_secret_heap_init(false, &err), 0);
        ck_assert(wla_secret_heap_locked());
        ck_assert_int_eq(wla_secret_new(32, &secret, &err), 0);
        ck_assert(CRYPTO_secure_allocated(secret));
        ck_assert_uint_gt(wla_secret_heap_used(), 0);

        uint8_t *inside = wla_secret_fill(secret);
        memset(inside, 0xa5, 32);
        wla_secret_truncate(secret, 16);
        ck_assert_uint_eq(wla_secret_view(secret).size, 16);
        ck_assert_uint_eq(inside[16], 0);
        ck_assert_uint_eq(inside[15], 0xa5);

        ck_assert_ptr_null(wla_secret_free(secret));
        for (int i = 0; i < 32; i++)
                ck_assert_uint_ne(inside[i], 0xa5);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        ck_assert_ptr_null(wla_secret_free(NULL));
}
END_TEST

START_TEST(exhaustion_is_an_error) {
        struct wla_error err = {0};
        struct wla_secret *secrets[4096];
        size_t count = 0;

        ck_assert_int_eq(wla_secret_heap_init(false, &err), 0);
        while (count < 4096 && wla_secret_new(1024, &secrets[count], &err) == 0)
                count++;
        ck_assert_uint_gt(count, 64);
        ck_assert_uint_lt(count, 4096);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        while (count > 0)
                wla_secret_free(secrets[--count]);
        ck_assert_int_eq(wla_secret_new(1024, &secrets[0], &err), 0);
        wla_secret_free(secrets[0]);
}
END_TEST

START_TEST(a_copy_lives_longer) {
        struct wla_error err = {0};
        struct wla_secret *secret = NULL;
        struct wla_secret *copy = NULL;

        ck_assert_int_eq(wla_secret_heap_init(false, &err), 0);
        ck_assert_int_eq(wla_secret_new(32, &secret, &err), 0);
        for (size_t i = 0; i < 32; i++)
                wla_secret_fill(secret)[i] = (uint8_t)i;
        ck_assert_int_eq(wla_secret_copy(secret, &copy, &err), 0);
        wla_secret_free(secret);
        ck_assert_uint_eq(wla_secret_view(copy).size, 32);
        for (size_t i = 0; i < 32; i++)
                ck_assert_uint_eq(wla_secret_view(copy).data[i], i);
        wla_secret_free(copy);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
}
END_TEST

START_TEST(too_large_is_refused) {
        struct wla_error err = {0};
        struct wla_secret *secret = NULL;

        ck_assert_int_eq(wla_secret_heap_init(false, &err), 0);
        ck_assert_int_eq(wla_secret_new(70000, &secret, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
}
END_TEST

START_TEST(ordinary_memory_is_never_handed_out) {
        struct wla_error err = {0};
        struct wla_secret *secret = NULL;

        ck_assert_int_eq(wla_secret_new(32, &secret, &err), -1);
        ck_assert_ptr_null(secret);
}
END_TEST

/* What the kernel says of the mapping that has this byte: rd wr mr mw me lo dd, and the like. */
static void read_flags(const void *byte, char ret[static 256]) {
        FILE *file = fopen("/proc/self/smaps", "re");
        char line[256];
        bool is_it = false;

        ck_assert_ptr_nonnull(file);
        ret[0] = '\0';
        while (fgets(line, sizeof(line), file)) {
                char *end = NULL;
                uintptr_t from = (uintptr_t)strtoull(line, &end, 16);

                if (*end == '-')
                        is_it = (uintptr_t)byte >= from &&
                                (uintptr_t)byte < (uintptr_t)strtoull(end + 1, NULL, 16);
                if (is_it && strncmp(line, "VmFlags:", 8) == 0)
                        (void)snprintf(ret, 256, "%s", line);
        }
        (void)fclose(file);
}

START_TEST(has_pages_of_its_own_instead) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        struct wla_error err = {0};
        struct wla_secret *secrets[3];
        char flags[256];

        ck_assert_int_eq(wla_secret_pages_init(false, &err), 0);
        ck_assert(wla_secret_heap_locked());
        ck_assert(!CRYPTO_secure_malloc_initialized());
        ck_assert_int_eq(wla_secret_new(32, &secrets[0], &err), 0);
        ck_assert_int_eq(wla_secret_new(65536, &secrets[1], &err), 0);
        memset(wla_secret_fill(secrets[1]), 0xa5, 65536);
        ck_assert_int_eq(wla_secret_copy(secrets[1], &secrets[2], &err), 0);
        ck_assert_uint_eq(wla_secret_view(secrets[2]).data[65535], 0xa5);
        wla_secret_truncate(secrets[2], 1);
        ck_assert_uint_eq(wla_secret_fill(secrets[2])[1], 0);

        for (size_t i = 0; i < 3; i++) {
                uint8_t *inside = (uint8_t *)secrets[i];
                size_t size = i == 0 ? page : 65536 + page;

                read_flags(inside, flags);
                ck_assert_msg(strstr(flags, " lo") && strstr(flags, " dd"), "%s", flags);
                read_flags(inside - page, flags);
                ck_assert_msg(flags[0] != '\0' && !strstr(flags, " rd"), "%s", flags);
                read_flags(inside + size, flags);
                ck_assert_msg(flags[0] != '\0' && !strstr(flags, " rd"), "%s", flags);
                ck_assert_ptr_null(wla_secret_free(secrets[i]));
                ck_assert_int_eq(msync(inside - page, size + 2 * page, MS_ASYNC), -1);
                ck_assert_int_eq(errno, ENOMEM);
        }
}
END_TEST

/* As root CAP_IPC_LOCK lifts the limit, so the test gives it up. */
static void allow_locked(size_t size) {
        struct rlimit limit = {size, size};

        ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
        if (geteuid() == 0)
                ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
}

START_TEST(pages_that_cannot_be_locked_are_refused) {
        struct wla_error err = {0};
        struct wla_secret *first = NULL;
        struct wla_secret *second = NULL;

        allow_locked(65536);
        ck_assert_int_eq(wla_secret_pages_init(false, &err), 0);
        ck_assert_int_eq(wla_secret_new(40000, &first, &err), 0);
        ck_assert_int_eq(wla_secret_new(40000, &second, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_BUSY);
        ck_assert_ptr_null(second);
        wla_secret_free(first);
        ck_assert_int_eq(wla_secret_new(40000, &second, &err), 0);
        wla_secret_free(second);

        allow_locked(0);
        ck_assert_int_eq(wla_secret_pages_init(false, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_str_eq(wla_error_text(&err),
                         "the kernel refuses to lock 64 KiB of memory for keys");
        ck_assert_int_eq(wla_secret_pages_init(true, &err), 0);
        ck_assert(!wla_secret_heap_locked());
        ck_assert_int_eq(wla_secret_new(40000, &second, &err), 0);
        wla_secret_free(second);
}
END_TEST

START_TEST(start_is_refused_when_locking_is) {
        struct wla_error err = {0};

        allow_locked(0);
        ck_assert_int_eq(wla_secret_heap_init(false, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "refuses to lock"));
        ck_assert_ptr_nonnull(strstr(err.hint, "AllowUnlockedMemory=yes"));

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert(!wla_secret_heap_locked());
}
END_TEST

SUITE_MAIN("secret", lives_in_the_secure_heap_and_is_wiped, exhaustion_is_an_error,
           a_copy_lives_longer, too_large_is_refused, ordinary_memory_is_never_handed_out,
           has_pages_of_its_own_instead, pages_that_cannot_be_locked_are_refused,
           start_is_refused_when_locking_is)
