/* SPDX-License-Identifier: Apache-2.0 */

/* Somebody between this host and its TPM, who alters what crosses and makes up what does not. */

#include "intel_host.h"
#include "tests.h"

/* The TPM has taken the command, and its session is a nonce further, when somebody puts an error in place of the answer. */
START_TEST(a_made_up_error_costs_no_authorisation) {
        static const struct {
                const char *fault;
                bool passes; /* without the caller's help */
        } cases[] = {
                {"0x159:1:claim=0x922", true},  /* RETRY */
                {"0x159:1:claim=0x921", false}, /* LOCKOUT */
                {"0x159:1:claim=0x1c4", false}, /* VALUE */
                {"0x159:1:claim=0x101",
                 false}, /* FAILURE, in which the key that does not fit ends, too */
                {"0x159:1:claim=0x99d", false}, /* POLICY_FAIL */
        };
        struct host host;
        struct host_key key;
        _cleanup_buf_ struct buf wrapped = {0};

        intel_host_begin(&host);
        intel_host_read_key(&host, HOST_KEY_BINDING, &key);
        intel_host_wrap(&host, &key, &wrapped);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                host_behind_proxy(&host, (const char *const[]){cases[i].fault, NULL});
                intel_host_place_both(&host);
                ck_assert_msg((intel_host_unbind(&host, &wrapped) == 0) == cases[i].passes,
                              "%s: %s", cases[i].fault, wla_error_text(&host.err));
                intel_host_opens(&host, &wrapped);
                intel_host_signs(&host);
        }
        ck_assert_uint_eq(host_wrong_authorisations(&host), 0);
        host_end(&host);
}
END_TEST

void add_interposer_tests(TCase *tcase) {
        tcase_add_test(tcase, a_made_up_error_costs_no_authorisation);
}
