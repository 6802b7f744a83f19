/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <openssl/crypto.h>
#include <string.h>
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

/* As root CAP_IPC_LOCK lifts the limit, so the test gives it up. */
START_TEST(start_is_refused_when_locking_is) {
        struct wla_error err = {0};
        struct rlimit none = {0, 0};

        ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
        if (geteuid() == 0)
                ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
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
           start_is_refused_when_locking_is)
