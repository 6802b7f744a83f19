/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session.h"

#include <string.h>

#include "host.h"
#include "tests.h"
#include "tpm/load.h"

static void begin(struct host *host, struct buf *wrapped) {
        host_begin(host);
        host_setup(host, 0, 0);
        host_wrap(host, KEY, wrapped);
        host_expect(host, wrapped, KEY);
}

/* The salt would go to whoever tells of a key of his own. */
static int start_for_another(struct tpm *tpm, void *arg, struct wla_error *err) {
        TPM2B_NAME other = tpm->key.storage_name;

        (void)arg;
        if (storage_key_open(tpm, err) < 0)
                return -1;
        other.name[other.size - 1] ^= 1;
        return session_start(tpm, &tpm->session, tpm->storage, &other, TPM2_SE_HMAC, err);
}

START_TEST(a_storage_key_of_another_name_gets_no_salt) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        begin(&host, &wrapped);
        ck_assert_int_eq(tpm_run(host.tpm, NULL, start_for_another, NULL, &host.err), -1);
        ck_assert_str_eq(wla_error_text(&host.err),
                         "the TPM tells of another storage key than before");
        ck_assert_int_eq(host.err.code, WLA_E_TPM);
        ck_assert_ptr_nonnull(host.err.hint);
        ck_assert_uint_eq(host.tpm->session.handle, 0);
        ck_assert_ptr_null(host.tpm->session.key);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(the_tpm_refuses_who_does_not_know_the_session) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        begin(&host, &wrapped);
        wla_secret_fill(host.tpm->session.key)[SESSION_DIGEST_SIZE - 1] ^= 1;
        host_expect_failure(&host, &wrapped, WLA_E_TPM, "refused the authorisation");
        host_expect(&host, &wrapped, KEY);

        /* Nor is a command taken twice: its nonce is that of the answer before it. */
        host.tpm->session.nonce_tpm[0] ^= 1;
        host_expect_failure(&host, &wrapped, WLA_E_TPM, "refused the authorisation");
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(each_nonce_is_used_once) {
        struct host host;
        uint8_t before[SESSION_DIGEST_SIZE];
        _cleanup_buf_ struct buf wrapped = {0};

        begin(&host, &wrapped);
        TPM2_HANDLE handle = host.tpm->session.handle;
        for (int i = 0; i < 3; i++) {
                memcpy(before, host.tpm->session.nonce_tpm, sizeof(before));
                host_expect(&host, &wrapped, KEY);
                ck_assert_uint_eq(host.tpm->session.handle, handle);
                ck_assert_mem_ne(host.tpm->session.nonce_tpm, before, sizeof(before));
        }
        host_end(&host);
}
END_TEST

START_TEST(no_key_is_asked_for_without_memory_for_it) {
        struct host host;
        struct wla_secret *taken[1024];
        size_t count = 0;
        _cleanup_buf_ struct buf wrapped = {0};

        begin(&host, &wrapped);
        uint64_t asked = tpm_unbind_count(host.tpm);
        uint8_t nonce = host.tpm->session.nonce_tpm[0];
        while (count < 1024 && wla_secret_new(256, &taken[count], &host.err) == 0)
                count++;
        ck_assert_uint_lt(count, 1024);
        host_expect_failure(&host, &wrapped, WLA_E_BUSY, "the locked memory for keys is exhausted");
        ck_assert_uint_eq(host.tpm->session.nonce_tpm[0], nonce);
        while (count > 0)
                (void)wla_secret_free(taken[--count]);
        host_expect(&host, &wrapped, KEY);
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), asked + 2);
        host_end(&host);
}
END_TEST

void add_session_tests(TCase *tcase) {
        tcase_add_test(tcase, a_storage_key_of_another_name_gets_no_salt);
        tcase_add_test(tcase, the_tpm_refuses_who_does_not_know_the_session);
        tcase_add_test(tcase, each_nonce_is_used_once);
        tcase_add_test(tcase, no_key_is_asked_for_without_memory_for_it);
}
