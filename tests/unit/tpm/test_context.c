/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/context.h"

#include <stdlib.h>
#include <string.h>

#include "fail_allocation.h"
#include "suite.h"

START_TEST(making_one_touches_no_device) {
        struct tpm *tpm = NULL;
        struct wla_error err = {0};

        ck_assert_int_eq(tpm_new("device:/nowhere", "/nowhere", &tpm, &err), 0);
        ck_assert_uint_eq(tpm_unbind_count(tpm), 0);
        ck_assert_str_eq(getenv("TSS2_LOG"), "all+NONE");
        tpm = tpm_free(tpm);
        ck_assert_ptr_null(tpm);
        ck_assert_ptr_null(tpm_free(NULL));
}
END_TEST

START_TEST(a_failed_allocation_is_an_error) {
        bool clean = true;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct tpm *tpm = NULL;
                struct tpm_facts facts;
                struct wla_error err = {0};

                int r = tpm_new("swtpm:path=/nowhere", "/nowhere", &tpm, &err);
                clean = clean && (r < 0) == fail_allocation_hit();
                if (r == 0)
                        clean = clean && tpm_facts(tpm, &facts, &err) < 0;
                clean = clean && err.code != WLA_OK;
                tpm = tpm_free(tpm);
        }
        fail_allocation_disarm();
        ck_assert(clean);
}
END_TEST

/* How a step goes that fails in a given way, and succeeds at the last. */
struct script {
        enum tpm_remedy remedy;
        unsigned failures;
        unsigned runs;
};

static int follow(struct tpm *tpm, void *arg, struct wla_error *err) {
        struct script *script = arg;

        if (script->runs++ >= script->failures)
                return 0;
        tpm->remedy = script->remedy;
        return wla_fail(err, WLA_E_UNAVAILABLE, "as the script says");
}

START_TEST(each_remedy_is_bounded) {
        static const struct {
                enum tpm_remedy remedy;
                unsigned tries; /* that are made at most */
        } cases[] = {
                {TPM_GIVE_UP, 1},   {TPM_DROP, 1},           {TPM_SUSPECT_INPUT, 1},
                {TPM_RECONNECT, 2}, {TPM_RESTART_POLICY, 4},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct tpm *tpm = NULL;
                struct wla_error err = {0};
                struct script forever = {.remedy = cases[i].remedy, .failures = 100};
                struct script last = {.remedy = cases[i].remedy, .failures = cases[i].tries - 1};

                /* A software TPM is connected to for each command, and this step sends none. */
                ck_assert_int_eq(tpm_new("swtpm:path=/nowhere", "/nowhere", &tpm, &err), 0);
                ck_assert_int_eq(tpm_run(tpm, NULL, follow, &forever, &err), -1);
                ck_assert_uint_eq(forever.runs, cases[i].tries);
                ck_assert_int_eq(tpm_run(tpm, NULL, follow, &last, &err), 0);
                tpm = tpm_free(tpm);
        }
}
END_TEST

START_TEST(no_pause_goes_past_the_deadline) {
        struct tpm *tpm = NULL;
        struct wla_error err = {0};
        struct script script = {.remedy = TPM_WAIT, .failures = 100};
        struct deadline deadline;

        ck_assert_int_eq(tpm_new("swtpm:path=/nowhere", "/nowhere", &tpm, &err), 0);
        deadline_init(&deadline, clock_now_usec() + 50 * USEC_PER_MSEC);
        ck_assert_int_eq(tpm_run(tpm, &deadline, follow, &script, &err), -1);
        ck_assert_uint_le(script.runs, 3);
        ck_assert(err.code == WLA_E_UNAVAILABLE || err.code == WLA_E_TIMEOUT);

        script.runs = 0;
        deadline_cancel(&deadline);
        ck_assert_int_eq(tpm_run(tpm, &deadline, follow, &script, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert_uint_eq(script.runs, 0);
        tpm = tpm_free(tpm);
}
END_TEST

SUITE_MAIN("context", making_one_touches_no_device, a_failed_allocation_is_an_error,
           each_remedy_is_bounded, no_pause_goes_past_the_deadline)
