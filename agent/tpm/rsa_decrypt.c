/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/rsa_decrypt.h"

#include <string.h>
#include <tss2/tss2_sys.h>

#include "base/file.h"
#include "base/metrics.h"
#include "tpm/templates.h"

/* libtpms says "failure" when OAEP does not fit, and a TPM that has really failed says it too: only
 * another command tells them apart. */
static TSS2_RC judge_failure(struct tpm *tpm, ESYS_TR key, TSS2_RC rc) {
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;

        if (tpm_rc_base(rc) != TPM2_RC_FAILURE)
                return rc;

        TSS2_RC probe = Esys_ReadPublic(tpm->esys, key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                        &public, NULL, NULL);
        return probe == TSS2_RC_SUCCESS ? TPM2_RC_VALUE | TPM2_RC_P : probe;
}

static TSS2_RC ask(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                   struct wla_bytes wrapped, struct wla_secret *message) {
        TPM2B_PUBLIC_KEY_RSA ciphertext = {.size = RSA_WRAPPED_SIZE};
        const struct session_command command = {.use = *use};
        TPM2_HANDLE handle = 0;

        memcpy(ciphertext.buffer, wrapped.data, RSA_WRAPPED_SIZE);
        TSS2_RC rc = Esys_TR_GetTpmHandle(tpm->esys, key, &handle);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_RSA_Decrypt_Prepare(session_sys(tpm), handle, &ciphertext,
                                                  &unbind_scheme, &unbind_label);
        if (rc == TSS2_RC_SUCCESS)
                rc = session_execute(tpm, &command, message);
        return rc;
}

static int decrypt(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                   struct wla_bytes wrapped, struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *message = NULL;

        /* Before the TPM is asked, as there may be no more locked memory; none is needed afterwards. */
        if (wla_secret_new(RSA_WRAP_PLAIN_MAX, &message, err) < 0)
                return -1;

        TSS2_RC rc = ask(tpm, key, use, wrapped, message);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_check(tpm, judge_failure(tpm, key, rc), "opening the wrapped key", err);
        if (wla_secret_view(message).size == 0)
                return wla_fail(err, WLA_E_INPUT, "the wrapped key is empty");
        *ret = TAKE_PTR(message);
        return 0;
}

int rsa_decrypt(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                struct wla_bytes wrapped, struct wla_secret **ret, struct wla_error *err) {
        uint64_t start_usec = clock_now_usec();

        atomic_fetch_add(&tpm->unbinds, 1);
        int r = decrypt(tpm, key, use, wrapped, ret, err);
        metrics_observe_usec(METRIC_TPM_OPERATION_SECONDS, clock_now_usec() - start_usec);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_UNBIND, r < 0 ? err->code : WLA_OK);
        return r;
}
