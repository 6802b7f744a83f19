/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "ahead_chain.h"

/* What goes wrong with a decryption, or with the one that was prepared behind it. */

/* Whatever becomes of the one with the fault: it is opened or refused, the other is opened, and so is a third.  A reset
 * is the last, because a TPM counts one that it was not told of as a wrong authorisation. */
static void survive(const char *const faults[], size_t count, bool of_the_first) {
        struct chain chain;

        chain_begin(&chain, true, 0);
        for (size_t i = 0; i < count; i++) {
                chain_restart(&chain, (const char *const[]){faults[i], NULL});
                chain.last = 2;
                int first = chain_open(&chain, 0);
                ck_assert_msg(of_the_first || (first == 0 && chain_is_under_way(&chain, 1)),
                              "%s: %s", faults[i], wla_error_text(&chain.host.err));
                int second = chain_open(&chain, 1);
                ck_assert_msg(second == 0 || !of_the_first, "%s: %s", faults[i],
                              wla_error_text(&chain.host.err));
                ck_assert(!chain_is_under_way(&chain, 1));
                chain_opens(&chain, 2);
                if (i + 2 == count)
                        ck_assert_uint_eq(host_wrong_authorisations(&chain.host), 0);
        }
        chain_end(&chain);
}

START_TEST(a_fault_of_the_first) {
        static const char *const faults[] = {
                CHAIN_DECRYPT ":2:rc=0x922",  CHAIN_DECRYPT ":2:claim=0x101",
                CHAIN_DECRYPT ":2:lose",      CHAIN_DECRYPT ":2:truncate=30",
                CHAIN_DECRYPT ":2:garble=-1", CHAIN_DECRYPT ":2:flush",
                CHAIN_DECRYPT ":2:reset",
        };

        survive(faults, sizeof(faults) / sizeof(faults[0]), true);
}
END_TEST

START_TEST(a_fault_of_the_one_behind) {
        static const char *const faults[] = {
                CHAIN_DECRYPT ":3:rc=0x922",  CHAIN_DECRYPT ":3:claim=0x101",
                CHAIN_DECRYPT ":3:lose",      CHAIN_DECRYPT ":3:truncate=30",
                CHAIN_DECRYPT ":3:garble=-1", CHAIN_DECRYPT ":3:flush",
                CHAIN_DECRYPT ":3:reset",
        };

        survive(faults, sizeof(faults) / sizeof(faults[0]), false);
}
END_TEST

START_TEST(a_tpm_that_hangs_at_the_one_behind) {
        struct chain chain;

        chain_begin(&chain, false, 0);
        chain.limit_msec = 3000;
        chain_restart(&chain, (const char *const[]){CHAIN_DECRYPT ":3:hang", NULL});
        chain.last = 2;
        chain_opens(&chain, 0);
        ck_assert(chain_is_under_way(&chain, 1));
        chain_opens(&chain, 1);
        chain_opens(&chain, 2);
        chain_end(&chain);
}
END_TEST

/* It is not asked again, and the secret is known to be refused. */
START_TEST(a_refused_secret_of_the_one_behind) {
        struct chain chain;

        chain_begin(&chain, true, 0);
        chain_restart(&chain, (const char *const[]){CHAIN_DECRYPT ":3-9:rc=0x98e", NULL});
        chain_opens(&chain, 0);
        ck_assert(chain_is_under_way(&chain, 1));
        host_is_refused(&chain.host, chain_open(&chain, 1), WLA_E_TPM,
                        "the TPM refuses the secret");
        uint64_t asked = tpm_unbind_count(chain.host.tpm);
        host_is_refused(&chain.host, chain_open(&chain, 2), WLA_E_TPM,
                        "the TPM refuses the secret");
        ck_assert_uint_eq(tpm_unbind_count(chain.host.tpm), asked);
        chain_end(&chain);
}
END_TEST

/* Its caller has no time left: the TPM's answer is taken, and goes nowhere; with it a session that could not be flushed. */
START_TEST(nobody_waits_for_the_one_behind) {
        static const char *const faults[] = {CHAIN_DECRYPT ":99:drop", CHAIN_DECRYPT ":3:rc=0x922",
                                             CHAIN_DECRYPT ":3:lose", CHAIN_DECRYPT ":3:garble=-1"};
        struct chain chain;

        chain_begin(&chain, false, 0);
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
                struct wla_secret *opened = NULL;
                struct deadline passed;

                chain_restart(&chain, (const char *const[]){faults[i], NULL});
                TPM2_HANDLE session = chain.host.tpm->session.handle;
                chain.last = 2;
                chain_opens(&chain, 0);
                ck_assert(chain_is_under_way(&chain, 1));
                deadline_init(&passed, 1);
                ck_assert_int_eq(tpm_unbind(chain.host.tpm, bytes_of(&chain.wrapped[1]), NULL,
                                            &passed, &opened, &chain.host.err),
                                 -1);
                ck_assert_int_eq(chain.host.err.code, WLA_E_TIMEOUT);
                ck_assert_ptr_null(opened);
                ck_assert(!chain_is_under_way(&chain, 1));
                ck_assert_uint_eq(chain.host.tpm->session.handle, i == 0 ? session : 0);
                ck_assert_int_ne(chain.host.tpm->binding, ESYS_TR_NONE);
                ck_assert_int_eq(tpm_connect(chain.host.tpm, &chain.host.err), 0);
                ck_assert_int_eq(chain.host.tpm->binding == ESYS_TR_NONE, i == 2); /* lost */
                chain_opens(&chain, 2);
        }
        chain_end(&chain);
}
END_TEST

START_TEST(nobody_hears_that_the_secret_is_refused) {
        struct chain chain;
        struct wla_secret *opened = NULL;
        struct deadline passed;

        chain_begin(&chain, true, 0);
        chain_restart(&chain, (const char *const[]){CHAIN_DECRYPT ":3:rc=0x98e", NULL});
        chain_opens(&chain, 0);
        ck_assert(chain_is_under_way(&chain, 1));
        deadline_init(&passed, 1);
        ck_assert_int_eq(tpm_host_unbind(chain.host.tpm, bytes_of(&chain.wrapped[1]), &passed,
                                         &opened, &chain.host.err),
                         -1);
        ck_assert_int_eq(chain.host.err.code, WLA_E_TIMEOUT);
        host_is_refused(&chain.host, chain_open(&chain, 2), WLA_E_TPM,
                        "the TPM refuses the secret");
        chain_end(&chain);
}
END_TEST

START_TEST(the_first_cannot_be_decrypted) {
        struct chain chain;

        chain_begin(&chain, true, 0);
        chain_restart(&chain, chain_no_faults);
        chain_fails.open = 1;
        ck_assert_int_eq(chain_open(&chain, 0), -1);
        ck_assert_int_eq(chain.host.err.code, WLA_E_BUSY);
        ck_assert_uint_eq(chain_fails.open, 0);
        for (size_t i = 0; i < CHAIN; i++)
                ck_assert(!chain_is_under_way(&chain, i));
        chain_opens(&chain, 1);
        chain_opens(&chain, 2);
        ck_assert_uint_eq(host_wrong_authorisations(&chain.host), 0);
        chain_end(&chain);
}
END_TEST

/* What the TPM says of the one behind is not lost with the first, of whichever kind that is: it is not asked again. */
static void refused_behind_a_failure(struct chain *chain, const struct buf *own, const char *code) {
        char fault[32];

        (void)snprintf(fault, sizeof(fault), CHAIN_DECRYPT ":%u:rc=%s", own ? 5 : 3, code);
        chain_restart(chain, (const char *const[]){fault, NULL});
        if (own) {
                tpm_while_at_work(chain->host.tpm, NULL, NULL);
                host_expect(&chain->host, own, KEY); /* with a new connection, as there is a key */
                chain_opens(chain, 0);
                tpm_while_at_work(chain->host.tpm, chain_prepare_of_intel, chain);
        }
        chain_fails.open = 1;
        ck_assert_int_eq(own ? host_try(&chain->host, own, KEY) : chain_open(chain, 0), -1);
        ck_assert_int_eq(chain->host.err.code, WLA_E_BUSY);
        ck_assert_uint_eq(chain_fails.open, 0);
        ck_assert(!chain_is_under_way(chain, 1));
}

START_TEST(the_one_behind_is_refused_and_the_first_cannot_be_decrypted) {
        struct chain chain;
        struct buf own = {0};
        const struct buf *const firsts[] = {NULL, &own};

        chain_begin(&chain, true, 0);
        host_setup(&chain.host, 0, 0);
        host_wrap(&chain.host, KEY, &own);
        for (int i = 0; i < 2; i++) {
                refused_behind_a_failure(&chain, firsts[i], "0x98e");
                uint64_t asked = tpm_unbind_count(chain.host.tpm);
                host_is_refused(&chain.host, chain_open(&chain, 1), WLA_E_TPM,
                                "the TPM refuses the secret");
                ck_assert_uint_eq(tpm_unbind_count(chain.host.tpm), asked);

                refused_behind_a_failure(&chain, firsts[i], "0x921");
                ck_assert(chain.host.tpm->locked_out);
                chain_opens(&chain, 1);
                ck_assert(!chain.host.tpm->locked_out); /* the TPM itself is not */
        }
        buf_clear(&own);
        chain_end(&chain);
}
END_TEST

START_TEST(the_one_behind_cannot_be_sent) {
        struct chain chain;

        chain_begin(&chain, true, 0);
        chain_restart(&chain, chain_no_faults);
        chain_fails.send = 2;
        chain_opens(&chain, 0);
        ck_assert_uint_eq(chain_fails.send, 0);
        ck_assert(chain_is_under_way(&chain, 1));
        chain_opens(&chain, 1);

        chain_restart(&chain, chain_no_faults);
        chain_fails.send = 2;
        chain_opens(&chain, 0);
        ck_assert_uint_eq(rsa_decrypt_end(chain.host.tpm, bytes_of(&chain.wrapped[1])),
                          TSS2_TCTI_RC_IO_ERROR);
        ck_assert_uint_eq(chain.host.tpm->host_session.handle, 0);
        chain_opens(&chain, 2);
        chain_end(&chain);
}
END_TEST

void add_ahead_fault_tests(TCase *tcase) {
        tcase_add_test(tcase, a_fault_of_the_first);
        tcase_add_test(tcase, a_fault_of_the_one_behind);
        tcase_add_test(tcase, a_tpm_that_hangs_at_the_one_behind);
        tcase_add_test(tcase, a_refused_secret_of_the_one_behind);
        tcase_add_test(tcase, nobody_waits_for_the_one_behind);
        tcase_add_test(tcase, nobody_hears_that_the_secret_is_refused);
        tcase_add_test(tcase, the_first_cannot_be_decrypted);
        tcase_add_test(tcase, the_one_behind_is_refused_and_the_first_cannot_be_decrypted);
        tcase_add_test(tcase, the_one_behind_cannot_be_sent);
}
