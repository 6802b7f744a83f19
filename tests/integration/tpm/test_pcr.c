/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "host.h"
#include "other_user.h"
#include "tests.h"
#include "tpm/templates.h"

#define PCR(n) (1u << (n))

START_TEST(an_unchanged_host_opens) {
        struct host host;
        struct binding_key_info info;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        other_user_extends(host.swtpm.tcti, 7);
        host_setup(&host, 0, PCR(0) | PCR(7) | PCR(23));
        ck_assert_int_eq(binding_key_info_read(host.state, &info, &host.err), 0);
        ck_assert_uint_eq(info.pcrs, PCR(0) | PCR(7) | PCR(23));

        host_wrap(&host, KEY, &wrapped);
        for (int i = 0; i < 3; i++)
                host_expect(&host, &wrapped, KEY);

        /* One that the key is not bound to. */
        other_user_extends(host.swtpm.tcti, 8);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(all_pcrs_fit_a_policy) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, PCR_MASK);
        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        other_user_extends(host.swtpm.tcti, 15);
        host_expect_failure(&host, &wrapped, WLA_E_DENIED, "PCR 15 changed since setup");
        host_end(&host);
}
END_TEST

START_TEST(changed_pcrs_are_named_and_the_tpm_is_not_asked) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, PCR(0) | PCR(4) | PCR(7) | PCR(11));
        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        uint64_t asked = tpm_unbind_count(host.tpm);

        other_user_extends(host.swtpm.tcti, 7);
        host_expect_failure(&host, &wrapped, WLA_E_DENIED, "PCR 7 changed since setup");
        ck_assert_ptr_nonnull(strstr(host.err.hint, "wlagent setup --replace"));
        other_user_extends(host.swtpm.tcti, 4);
        other_user_extends(host.swtpm.tcti, 11);
        host_expect_failure(&host, &wrapped, WLA_E_DENIED, "PCR 4, 7 and 11 changed since setup");
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), asked);
        host_end(&host);
}
END_TEST

START_TEST(a_reboot_into_the_same_state_opens_again) {
        struct host host;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0x81010010, PCR(7));
        host_wrap(&host, KEY, &wrapped);
        other_user_extends(host.swtpm.tcti, 7);
        host_expect_failure(&host, &wrapped, WLA_E_DENIED, "PCR 7 changed since setup");

        swtpm_stop(&host.swtpm);
        swtpm_start(&host.swtpm);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

START_TEST(a_second_setup_after_a_change_says_so) {
        struct host host;
        struct tpm_setup_options options = {.pcrs = PCR(7)};
        bool created = false;
        _cleanup_buf_ struct buf wrapped = {0};

        host_begin(&host);
        host_setup(&host, 0, PCR(7));
        other_user_extends(host.swtpm.tcti, 7);
        ck_assert_int_eq(tpm_setup(host.tpm, &options, &created, &host.err), -1);
        ck_assert_int_eq(host.err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&host.err),
                                     "this host has a binding key, but it does not work"));

        options.replace = true;
        ck_assert_int_eq(tpm_setup(host.tpm, &options, &created, &host.err), 0);
        host_wrap(&host, KEY, &wrapped);
        host_expect(&host, &wrapped, KEY);
        host_end(&host);
}
END_TEST

/* The binding key used without its policy, as a thief on the running host would. */
static int use_password(struct tpm *tpm, void *arg, struct wla_error *err) {
        const TPM2B_PUBLIC_KEY_RSA ciphertext = {.size = RSA_WRAPPED_SIZE, .buffer = {0, 1}};
        TPM2B_PUBLIC_KEY_RSA *message = NULL;

        (void)err;
        *(TSS2_RC *)arg = Esys_RSA_Decrypt(tpm->esys, tpm->binding, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                           ESYS_TR_NONE, &ciphertext, &unbind_scheme, &unbind_label,
                                           &message);
        return 0;
}

START_TEST(no_password_gets_around_the_policy) {
        struct host host;
        TSS2_RC rc = TSS2_RC_SUCCESS;

        host_begin(&host);
        host_setup(&host, 0, PCR(7));
        ck_assert_int_eq(tpm_prepare(host.tpm, &host.err), 0);
        ck_assert_int_eq(tpm_run(host.tpm, NULL, use_password, &rc, &host.err), 0);
        ck_assert_uint_eq(tpm_rc_base(rc), TPM2_RC_AUTH_UNAVAILABLE);
        host_end(&host);
}
END_TEST

START_TEST(readying_tells_of_a_change) {
        struct host host;

        host_begin(&host);
        host_setup(&host, 0, PCR(7));
        ck_assert_int_eq(tpm_prepare(host.tpm, &host.err), 0);
        other_user_extends(host.swtpm.tcti, 7);
        ck_assert_int_eq(tpm_prepare(host.tpm, &host.err), -1);
        ck_assert_int_eq(host.err.code, WLA_E_DENIED);
        ck_assert_uint_eq(tpm_unbind_count(host.tpm), 1); /* the proof of setup */
        host_end(&host);
}
END_TEST

void add_pcr_tests(TCase *tcase) {
        tcase_add_test(tcase, an_unchanged_host_opens);
        tcase_add_test(tcase, all_pcrs_fit_a_policy);
        tcase_add_test(tcase, changed_pcrs_are_named_and_the_tpm_is_not_asked);
        tcase_add_test(tcase, a_reboot_into_the_same_state_opens_again);
        tcase_add_test(tcase, no_password_gets_around_the_policy);
        tcase_add_test(tcase, readying_tells_of_a_change);
        tcase_add_test(tcase, a_second_setup_after_a_change_says_so);
}
