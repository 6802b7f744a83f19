/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/rsa_decrypt.h"

#include <openssl/crypto.h>
#include <string.h>
#include <tss2/tss2_sys.h>

#include "base/metrics.h"
#include "tpm/templates.h"

/* tpm2-tss decrypts the answer on its stack and in the command buffer of its context, and leaves it
 * there.  A longer command, prepared and never sent, overwrites the buffer. */
static void wipe_command_buffer(struct tpm *tpm) {
        static const TPM2B_MAX_BUFFER zeros = {.size = 512};
        TSS2_SYS_CONTEXT *sys = NULL;

        if (Esys_GetSysContext(tpm->esys, &sys) == TSS2_RC_SUCCESS && sys)
                (void)Tss2_Sys_Hash_Prepare(sys, &zeros, TPM2_ALG_SHA256, TPM2_RH_NULL);
}

__attribute__((noinline)) void rsa_decrypt_wipe_stack(void) {
        uint8_t below[28672]; /* ESYS and OpenSSL use that much */

        explicit_bzero(below, sizeof(below));
}

static int take_answer(const TPM2B_PUBLIC_KEY_RSA *message, struct wla_secret **ret,
                       struct wla_error *err) {
        if (message->size == 0 || message->size > RSA_WRAP_PLAIN_MAX)
                return wla_fail(err, WLA_E_INPUT, "the wrapped key is empty");
        if (wla_secret_new(message->size, ret, err) < 0)
                return -1;

        memcpy(wla_secret_fill(*ret), message->buffer, message->size);
        return 0;
}

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

static int decrypt(struct tpm *tpm, ESYS_TR key, ESYS_TR session, struct wla_bytes wrapped,
                   struct wla_secret **ret, struct wla_error *err) {
        TPM2B_PUBLIC_KEY_RSA ciphertext = {.size = RSA_WRAPPED_SIZE};
        TPM2B_PUBLIC_KEY_RSA *message = NULL;

        memcpy(ciphertext.buffer, wrapped.data, RSA_WRAPPED_SIZE);
        TSS2_RC rc = Esys_RSA_Decrypt(tpm->esys, key, session, ESYS_TR_NONE, ESYS_TR_NONE,
                                      &ciphertext, &unbind_scheme, &unbind_label, &message);
        wipe_command_buffer(tpm);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_check(tpm, judge_failure(tpm, key, rc), "opening the wrapped key", err);

        int r = take_answer(message, ret, err);
        OPENSSL_cleanse(message, sizeof(*message));
        Esys_Free(message);
        return r;
}

int rsa_decrypt(struct tpm *tpm, ESYS_TR key, ESYS_TR session, struct wla_bytes wrapped,
                struct wla_secret **ret, struct wla_error *err) {
        uint64_t start_usec = clock_now_usec();

        atomic_fetch_add(&tpm->unbinds, 1);
        int r = decrypt(tpm, key, session, wrapped, ret, err);
        metrics_observe_usec(METRIC_TPM_OPERATION_SECONDS, clock_now_usec() - start_usec);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_UNBIND, r < 0 ? err->code : WLA_OK);
        return r;
}
