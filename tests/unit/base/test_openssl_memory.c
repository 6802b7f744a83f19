/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "suite.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/openssl_memory.h"
#include "base/rsa_wrap.h"

void __wrap_free(void *block);
void __real_free(void *block);

/* volatile: the compiler believes that free() touches no variable of ours. */
static volatile bool watching;
static volatile size_t freed;
static volatile size_t freed_with_content;

/* Looks at all of what is given back to malloc. */
void __wrap_free(void *block) {
        if (watching && block) {
                const uint8_t *bytes = block;
                size_t size = malloc_usable_size(block);
                size_t at = 0;

                while (at < size && bytes[at] == 0)
                        at++;
                freed++;
                freed_with_content += at < size;
        }
        __real_free(block);
}

static void begin(void) {
        struct wla_error err = {0};

        ck_assert_msg(openssl_memory_init(&err) == 0, "%s", wla_error_text(&err));
}

static char *marked(size_t size) {
        char *block = OPENSSL_malloc(size);

        ck_assert_ptr_nonnull(block);
        memset(block, 'k', size);
        return block;
}

START_TEST(freed_blocks_hold_nothing) {
        begin();
        for (size_t size = 1; size < 200000; size = size * 3 + 1) {
                char *block = marked(size);

                watching = true;
                OPENSSL_free(block);
                watching = false;
        }
        OPENSSL_free(NULL);
        ck_assert_uint_gt(freed, 10);
        ck_assert_uint_eq(freed_with_content, 0);
}
END_TEST

START_TEST(the_watch_sees_what_is_left) {
        char *block = malloc(100);

        memset(block, 'k', 100);
        /* Without this the compiler drops stores that nobody reads. */
        __asm__ volatile("" : : "r"(block) : "memory");
        watching = true;
        free(block);
        watching = false;
        ck_assert_uint_eq(freed_with_content, 1);
}
END_TEST

START_TEST(moved_blocks_leave_nothing) {
        begin();

        char *block = marked(100);
        watching = true;
        block = OPENSSL_realloc(block, 5000);
        bool larger = block && memcmp(block, "kkkkkkkk", 8) == 0 && block[99] == 'k';
        memset(block, 'k', 5000);
        block = OPENSSL_realloc(block, 7);
        bool smaller = block && memcmp(block, "kkkkkkk", 7) == 0;
        block = OPENSSL_realloc(block, 0);
        watching = false;

        ck_assert(larger && smaller);
        ck_assert_ptr_null(block);
        ck_assert_uint_eq(freed, 3);
        ck_assert_uint_eq(freed_with_content, 0);

        block = OPENSSL_realloc(NULL, 10);
        ck_assert_ptr_nonnull(block);
        OPENSSL_free(block);
        ck_assert_ptr_null(OPENSSL_realloc(NULL, 0));
}
END_TEST

START_TEST(what_cannot_move_stays) {
        begin();

        char *block = marked(100);
        (void)fail_allocation_arm(1);
        void *moved = OPENSSL_realloc(block, 5000);
        fail_allocation_disarm();
        ck_assert_ptr_null(moved);
        ck_assert_int_eq(block[99], 'k');
        OPENSSL_free(block);
}
END_TEST

START_TEST(libraries_may_use_free_and_malloc) {
        begin();
        free(marked(100));

        char *block = malloc(100);
        ck_assert_ptr_nonnull(block);
        memset(block, 'k', 100);
        __asm__ volatile("" : : "r"(block) : "memory");
        watching = true;
        OPENSSL_free(block);
        watching = false;
        ck_assert_uint_eq(freed, 1);
        ck_assert_uint_eq(freed_with_content, 0);
}
END_TEST

/* A PEM public key; BUF_WITH_LIMIT. */
static void make_public_key(struct buf *pem) {
        struct wla_error err = {0};
        EVP_PKEY *key = EVP_RSA_gen(2048);
        BIO *bio = BIO_new(BIO_s_mem());
        char *text = NULL;

        ck_assert(key && bio && PEM_write_bio_PUBKEY(bio, key) == 1);
        long size = BIO_get_mem_data(bio, &text);
        ck_assert_int_eq(buf_append(pem, text, (size_t)size, &err), 0);
        BIO_free(bio);
        EVP_PKEY_free(key);
}

/* RSA-OAEP has a block from which the key can be computed. */
START_TEST(wrapping_a_key_leaves_nothing) {
        _cleanup_buf_ struct buf pem = BUF_WITH_LIMIT(4096);
        _cleanup_buf_ struct buf wrapped = BUF_WITH_LIMIT(4096);
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct wla_error err = {0};

        begin();
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(wla_secret_new(32, &key, &err), 0);
        memset(wla_secret_fill(key), 'k', 32);
        make_public_key(&pem);

        watching = true;
        int outcome = rsa_wrap((const char *)pem.data, pem.size, key, &wrapped, &err);
        watching = false;
        ck_assert_int_eq(outcome, 0);
        ck_assert_uint_gt(freed, 20);
        ck_assert_uint_eq(freed_with_content, 0);
}
END_TEST

START_TEST(too_late_is_refused) {
        struct wla_error err = {0};

        OPENSSL_free(OPENSSL_malloc(1));
        ck_assert_int_eq(openssl_memory_init(&err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "in use before"));
}
END_TEST

SUITE_MAIN("openssl_memory", freed_blocks_hold_nothing, the_watch_sees_what_is_left,
           moved_blocks_leave_nothing, what_cannot_move_stays, libraries_may_use_free_and_malloc,
           wrapping_a_key_leaves_nothing, too_late_is_refused)
