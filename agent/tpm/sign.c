/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tpm/host_key_load.h"
#include "tpm/host_key_slot.h"
#include "tpm/templates.h"

struct signing {
        TPM2B_DIGEST digest;
        uint8_t *to;
};

/* What a TPM hands out for digests that it has computed itself; any other is signed with this one, by a key
 * that is not restricted (Part 3, section 20.2). */
static const TPMT_TK_HASHCHECK no_ticket = {
        .tag = TPM2_ST_HASHCHECK,
        .hierarchy = TPM2_RH_NULL,
};

static TSS2_RC ask(struct tpm *tpm, const struct session_command *command,
                   const TPM2B_DIGEST *digest, TPMT_SIGNATURE *ret) {
        TSS2_SYS_CONTEXT *sys = session_sys(tpm);
        TPM2_HANDLE handle = 0;

        TSS2_RC rc = Esys_TR_GetTpmHandle(tpm->esys, tpm->host_key, &handle);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_Sign_Prepare(sys, handle, digest, &host_signing_scheme, &no_ticket);
        if (rc == TSS2_RC_SUCCESS)
                rc = session_execute(tpm, command, NULL);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_Sign_Complete(sys, ret);
        return rc;
}

/* The answer is no secret, and does not begin with what a session could encrypt. */
static int sign(struct tpm *tpm, const struct host_key_slot *slot, const struct signing *signing,
                struct wla_error *err) {
        const TPM2B_NAME name = host_key_name(&slot->key);
        const struct session_command command = {
                .use = {.session = &tpm->host_session, .key_name = &name, .auth = slot->secret},
                .encrypt = true,
        };
        TPMT_SIGNATURE signature = {0};

        if (tpm_check(tpm, ask(tpm, &command, &signing->digest, &signature), "signing", err) < 0)
                return -1;
        if (signature.sigAlg != TPM2_ALG_RSASSA ||
            signature.signature.rsassa.hash != TPM2_ALG_SHA256 ||
            signature.signature.rsassa.sig.size != TPM_SIGNATURE_SIZE)
                return wla_fail(err, WLA_E_TPM, "the TPM made a signature of another kind");

        memcpy(signing->to, signature.signature.rsassa.sig.buffer, TPM_SIGNATURE_SIZE);
        return 0;
}

static int sign_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct host_key_slot *slot = &tpm->host_keys[HOST_KEY_SIGNING];

        if (host_key_slot_may_ask(tpm, HOST_KEY_SIGNING, err) < 0 ||
            host_key_open(tpm, HOST_KEY_SIGNING, err) < 0)
                return -1;

        tpm->rc = TSS2_RC_SUCCESS;
        int r = sign(tpm, slot, arg, err);
        return r < 0 ? host_key_slot_failed(tpm, HOST_KEY_SIGNING, err) : 0;
}

int tpm_sign(struct tpm *tpm, const uint8_t digest[TPM_DIGEST_SIZE],
             const struct deadline *deadline, uint8_t ret[TPM_SIGNATURE_SIZE],
             struct wla_error *err) {
        struct signing signing = {.digest.size = TPM_DIGEST_SIZE, .to = ret};

        if (host_key_slot_refresh(tpm, HOST_KEY_SIGNING, err) < 0)
                return -1;
        memcpy(signing.digest.buffer, digest, TPM_DIGEST_SIZE);
        return tpm_run(tpm, deadline, sign_step, &signing, err);
}
