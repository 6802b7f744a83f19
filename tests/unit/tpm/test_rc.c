/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/rc.h"

#include <errno.h>
#include <string.h>

#include "suite.h"

static const char *text_of(TSS2_RC rc, struct wla_error *err) {
        *err = (struct wla_error){0};
        ck_assert_int_eq(tpm_rc_fail(err, rc, 0), -1);
        return wla_error_text(err);
}

START_TEST(the_number_of_the_handle_or_parameter_does_not_matter) {
        ck_assert_uint_eq(tpm_rc_base(0x98e), TPM2_RC_AUTH_FAIL);
        ck_assert_uint_eq(tpm_rc_base(0x9a2), TPM2_RC_BAD_AUTH);
        ck_assert_uint_eq(tpm_rc_base(0x18b), TPM2_RC_HANDLE);
        ck_assert_uint_eq(tpm_rc_base(0x1c4), TPM2_RC_VALUE);
        ck_assert_uint_eq(tpm_rc_base(0x2d5), TPM2_RC_SIZE);
        ck_assert_uint_eq(tpm_rc_base(0x922), TPM2_RC_RETRY);
        ck_assert_uint_eq(tpm_rc_base(TSS2_RESMGR_TPM_RC_LAYER | 0x922), TPM2_RC_RETRY);
        ck_assert_uint_eq(tpm_rc_base(TSS2_TCTI_RC_IO_ERROR), 0);
}
END_TEST

START_TEST(each_cause_has_its_remedy) {
        static const struct {
                TSS2_RC rc;
                enum tpm_remedy remedy;
                enum wla_code code;
        } cases[] = {
                {TPM2_RC_RETRY, TPM_WAIT, WLA_E_UNAVAILABLE},
                {TPM2_RC_YIELDED, TPM_WAIT, WLA_E_UNAVAILABLE},
                {TPM2_RC_TESTING, TPM_WAIT, WLA_E_UNAVAILABLE},
                {TPM2_RC_NV_RATE, TPM_WAIT, WLA_E_UNAVAILABLE},
                {TPM2_RC_NV_UNAVAILABLE, TPM_WAIT, WLA_E_UNAVAILABLE},
                {TPM2_RC_LOCKOUT, TPM_GIVE_UP, WLA_E_TPM},
                {0x98e, TPM_DROP, WLA_E_TPM},
                {0x9a2, TPM_DROP, WLA_E_TPM},
                {0x99d, TPM_GIVE_UP, WLA_E_DENIED},
                {TPM2_RC_PCR_CHANGED, TPM_RESTART_POLICY, WLA_E_DENIED},
                {TPM2_RC_OBJECT_MEMORY, TPM_MAKE_ROOM, WLA_E_UNAVAILABLE},
                {TPM2_RC_SESSION_HANDLES, TPM_MAKE_ROOM, WLA_E_UNAVAILABLE},
                {TPM2_RC_REFERENCE_H0, TPM_RECONNECT, WLA_E_UNAVAILABLE},
                {TPM2_RC_REFERENCE_S0, TPM_RECONNECT, WLA_E_UNAVAILABLE},
                {0x18b, TPM_RECONNECT, WLA_E_UNAVAILABLE},
                {0x184, TPM_RECONNECT, WLA_E_UNAVAILABLE},
                {0x1c4, TPM_SUSPECT_INPUT, WLA_E_INPUT},
                {0x084, TPM_SUSPECT_INPUT, WLA_E_INPUT},
                {0x1d5, TPM_SUSPECT_INPUT, WLA_E_INPUT},
                {TPM2_RC_INITIALIZE, TPM_START_UP, WLA_E_UNAVAILABLE},
                {TPM2_RC_FAILURE, TPM_DROP, WLA_E_TPM},
                {TPM2_RC_REBOOT, TPM_DROP, WLA_E_TPM},
                {TSS2_TCTI_RC_IO_ERROR, TPM_RECONNECT, WLA_E_UNAVAILABLE},
                {TSS2_ESYS_RC_BAD_SEQUENCE, TPM_RECONNECT, WLA_E_UNAVAILABLE},
                {TSS2_SYS_RC_MALFORMED_RESPONSE, TPM_RECONNECT, WLA_E_UNAVAILABLE},
                {TSS2_ESYS_RC_RSP_AUTH_FAILED, TPM_DROP, WLA_E_TPM},
                {TSS2_ESYS_RC_MEMORY, TPM_DROP, WLA_E_BUSY},
                {0xfff, TPM_DROP, WLA_E_TPM},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct wla_error err;

                (void)text_of(cases[i].rc, &err);
                ck_assert_msg(tpm_rc_remedy(cases[i].rc) == cases[i].remedy, "0x%x", cases[i].rc);
                ck_assert_msg(err.code == cases[i].code, "0x%x: %s", cases[i].rc,
                              wla_code_token(err.code));
        }
}
END_TEST

/* The wrong key of a lockout-protected object, tried again, locks the TPM. */
START_TEST(a_refused_authorisation_is_never_tried_again) {
        for (TSS2_RC rc = 1; rc <= 0xfff; rc++) {
                TPM2_RC base = tpm_rc_base(rc);

                if (base == TPM2_RC_AUTH_FAIL || base == TPM2_RC_BAD_AUTH ||
                    base == TPM2_RC_LOCKOUT)
                        ck_assert(tpm_rc_remedy(rc) == TPM_DROP ||
                                  tpm_rc_remedy(rc) == TPM_GIVE_UP);
        }
}
END_TEST

START_TEST(every_code_has_a_text) {
        for (uint32_t layer = 0; layer <= 0xff; layer++)
                for (uint32_t code = layer == 0 ? 1 : 0; code <= 0xffff;
                     code += layer == 0 ? 1 : 997) {
                        struct wla_error err;
                        const char *text = text_of(layer << TSS2_RC_LAYER_SHIFT | code, &err);

                        ck_assert_msg(text[0] != '\0' && err.code != WLA_OK, "0x%x", code);
                }
}
END_TEST

START_TEST(a_text_names_the_code_or_the_errno) {
        struct wla_error err = {0};

        ck_assert_str_eq(text_of(0x922, &err), "the TPM is busy (0x922)");
        ck_assert_ptr_nonnull(strstr(text_of(0xfff, &err), "0xfff"));

        (void)tpm_rc_fail(&err, TSS2_TCTI_RC_NO_CONNECTION, ENOENT);
        ck_assert_str_eq(wla_error_text(&err),
                         "no connection to the TPM: No such file or directory");
}
END_TEST

SUITE_MAIN("rc", the_number_of_the_handle_or_parameter_does_not_matter, each_cause_has_its_remedy,
           a_refused_authorisation_is_never_tried_again, every_code_has_a_text,
           a_text_names_the_code_or_the_errno)
