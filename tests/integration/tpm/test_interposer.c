/* SPDX-License-Identifier: Apache-2.0 */

/* Somebody between this host and its TPM, who alters what crosses and makes up what does not. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
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

static uint32_t be32(const uint8_t *from) {
        return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* Commands and answers follow each other in the capture; the TPM refuses a salt that was not encrypted to its key. */
static unsigned count_sessions(struct host *host, unsigned *ret_refused) {
        char path[96];
        const uint8_t *command = NULL;
        unsigned count = 0;
        _cleanup_buf_ struct buf capture = BUF_WITH_LIMIT(CAPTURE_MAX);

        (void)snprintf(path, sizeof(path), "%s/capture", host->swtpm.directory);
        ck_assert_int_eq(file_read(AT_FDCWD, path, &capture, &host->err), 0);
        *ret_refused = 0;
        for (size_t at = 0; at < capture.size;) {
                const uint8_t *message = capture.data + at;

                at += be32(message + 2);
                if (!command) {
                        command = message;
                        continue;
                }
                if (be32(command + 6) == TPM2_CC_StartAuthSession) {
                        count++;
                        *ret_refused += be32(message + 6) != TPM2_RC_SUCCESS;
                }
                command = NULL;
        }
        return count;
}

static void make_key(struct host *host, const char *fault, const char *refusal) {
        static const char text[] = "89abcdef0123456789abcdef0123456789abcdef";
        _cleanup_secret_ struct wla_secret *secret = NULL;
        struct host_key key;
        unsigned refused = 0;

        ck_assert_int_eq(wla_secret_new(strlen(text), &secret, &host->err), 0);
        memcpy(wla_secret_fill(secret), text, strlen(text));
        const struct host_key_options options = {.secret = secret};
        host_behind_proxy(host, (const char *const[]){fault, NULL});
        int r = tpm_host_key_create(host->tpm, &options, &key, &host->err);
        unsigned sessions = count_sessions(host, &refused);
        ck_assert_msg(refused == 0, "%s: %u of %u sessions", fault, refused, sessions);
        if (refusal) {
                host_is_refused(host, r, WLA_E_TPM, refusal);
                ck_assert_uint_eq(sessions, 0);
        }
        ck_assert(r == 0 ||
                  (host->err.hint &&
                   strstr(host->err.hint, "something sits between this host and its TPM")));
}

/* The name that comes along stays the true one.  The first read of each key is tpm2-tss's own, which keeps what it was
 * told; which the later ones are depends on how often the TPM asks to be asked again for a key. */
START_TEST(no_salt_goes_to_a_public_area_of_another_name) {
        static const char other_name[] = "the TPM tells of another key at 0x81000000 than its name";
        static const char other_aik[] = "the TPM tells of another key at 0x81018000 than its name";
        struct host host;

        intel_host_begin(&host);
        make_key(&host, "0x173:1:garble=100", other_name);
        make_key(&host, "0x173:2:garble=100", other_name);
        make_key(&host, "0x173:3:garble=100", other_aik);
        make_key(&host, "0x173:4:garble=100", other_aik);
        make_key(&host, "0x173:5:garble=100", "the TPM tells of another storage key than before");
        make_key(&host, "0x173:6:garble=100", NULL);
        make_key(&host, "0x173:7:garble=100", NULL);
        host_end(&host);
}
END_TEST

static void set_up_again(struct host *host, const char *fault, const char *refusal) {
        const struct tpm_setup_options options = {.replace = true};
        struct binding_key_info before;
        struct binding_key_info now;
        unsigned refused = 0;
        bool created = false;

        ck_assert_int_eq(binding_key_info_read(host->state, &before, &host->err), 0);
        host_behind_proxy(host, (const char *const[]){fault, NULL});
        int r = tpm_setup(host->tpm, &options, &created, &host->err);
        unsigned sessions = count_sessions(host, &refused);
        ck_assert_msg(refused == 0, "%s: %u of %u sessions", fault, refused, sessions);
        if (!refusal) {
                ck_assert_msg(r == 0 && created, "%s: %s", fault, wla_error_text(&host->err));
                return;
        }
        host_is_refused(host, r, WLA_E_TPM, refusal);
        ck_assert_ptr_nonnull(
                strstr(host->err.hint, "something sits between this host and its TPM"));
        ck_assert_int_eq(binding_key_info_read(host->state, &now, &host->err), 0);
        ck_assert_str_eq(now.fingerprint, before.fingerprint);
}

/* As above, for the agent's own binding key.  What tpm2-tss is told first, and whether this is a storage key, is no harm. */
START_TEST(nor_does_the_salt_of_setup) {
        struct host host;

        host_begin(&host);
        host_setup(&host, 0, 0);
        set_up_again(&host, "0x173:1:garble=100", NULL);
        set_up_again(&host, "0x173:2:garble=100", NULL);
        set_up_again(&host, "0x173:3:garble=100",
                     "the TPM tells of another key at 0x81000001 than its name is of");
        set_up_again(&host, "0x173:4:garble=100",
                     "the TPM tells of another storage key than before");
        host_end(&host);
}
END_TEST

/* Of what setup is told of the new key not a byte may be another. */
START_TEST(a_key_that_is_altered_on_its_way_is_none) {
        static const char *const faults[] = {"0x153:1:garble=40", "0x153:1:garble=150",
                                             "0x153:1:garble=-1"};
        struct host host;

        host_begin(&host);
        host_setup(&host, 0, 0);
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
                set_up_again(&host, faults[i], "the answer of the TPM was altered on its way");
        host_end(&host);
}
END_TEST

void add_interposer_tests(TCase *tcase) {
        tcase_add_test(tcase, no_salt_goes_to_a_public_area_of_another_name);
        tcase_add_test(tcase, nor_does_the_salt_of_setup);
        tcase_add_test(tcase, a_key_that_is_altered_on_its_way_is_none);
        tcase_add_test(tcase, a_made_up_error_costs_no_authorisation);
}
