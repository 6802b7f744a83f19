/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "tpm/auth_value.h"
#include "tpm/context.h"
#include "tpm/session_salt.h"
#include "tpm/templates.h"

#define KEY_SIZE SESSION_DIGEST_SIZE
#define KEY_MAX  (KEY_SIZE + AUTH_VALUE_MAX)

TSS2_SYS_CONTEXT *session_sys(struct tpm *tpm) {
        TSS2_SYS_CONTEXT *sys = NULL;

        return Esys_GetSysContext(tpm->esys, &sys) == TSS2_RC_SUCCESS ? sys : NULL;
}

void session_forget(struct session *session) {
        (void)wla_secret_free(session->key);
        *session = (struct session){0};
}

void session_end(struct tpm *tpm, struct session *session) {
        TSS2_SYS_CONTEXT *sys = session_sys(tpm);

        if (session->handle != 0 && sys &&
            Tss2_Sys_FlushContext(sys, session->handle) != TSS2_RC_SUCCESS)
                tpm->left_behind = true;
        session_forget(session);
}

/* A TPM that answers for another one would get to know the salt, and with it all that the session protects. */
static int read_storage(struct tpm *tpm, ESYS_TR storage, const TPM2B_NAME *name, TPM2B_PUBLIC *ret,
                        struct wla_error *err) {
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        TPM2B_NAME computed;

        TSS2_RC rc = Esys_ReadPublic(tpm->esys, storage, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                     &public, NULL, NULL);
        if (tpm_check(tpm, rc, "reading the storage key", err) < 0 ||
            tpm_name_compute(public, &computed, err) < 0)
                return -1;
        if (!tpm_name_equal(&computed, name)) {
                tpm->remedy = TPM_DROP;
                return wla_fail_hint(err, WLA_E_TPM,
                                     "something sits between this host and its TPM; see "
                                     "SECURITY.md",
                                     "the TPM tells of another storage key than before");
        }
        *ret = *public;
        return 0;
}

static TSS2_RC derive_key(struct session *session, const struct wla_secret *salt,
                          const TPM2B_NONCE *nonce_caller, const TPM2B_NONCE *nonce_tpm) {
        const struct session_nonces nonces = {.newer = nonce_tpm->buffer,
                                              .older = nonce_caller->buffer};

        if (nonce_tpm->size != SESSION_DIGEST_SIZE)
                return TSS2_ESYS_RC_MALFORMED_RESPONSE;
        if (session_derive(wla_secret_view(salt), "ATH", nonces, wla_secret_fill(session->key)) < 0)
                return TSS2_ESYS_RC_MEMORY;

        memcpy(session->nonce_tpm, nonce_tpm->buffer, SESSION_DIGEST_SIZE);
        return TSS2_RC_SUCCESS;
}

static TSS2_RC start(struct tpm *tpm, struct session *session, ESYS_TR storage, TPM2_SE type,
                     const struct wla_secret *salt, const TPM2B_ENCRYPTED_SECRET *encrypted) {
        TPM2B_NONCE nonce_caller = {.size = SESSION_DIGEST_SIZE};
        TPM2B_NONCE nonce_tpm = {0};
        TPM2_HANDLE salt_key = 0;

        TSS2_RC rc = Esys_TR_GetTpmHandle(tpm->esys, storage, &salt_key);
        if (rc == TSS2_RC_SUCCESS && RAND_bytes(nonce_caller.buffer, SESSION_DIGEST_SIZE) != 1)
                rc = TSS2_ESYS_RC_MEMORY;
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_StartAuthSession(session_sys(tpm), salt_key, TPM2_RH_NULL, NULL,
                                               &nonce_caller, encrypted, type, &session_cipher,
                                               TPM2_ALG_SHA256, &session->handle, &nonce_tpm, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return rc;

        session->type = type;
        return derive_key(session, salt, &nonce_caller, &nonce_tpm);
}

int session_start(struct tpm *tpm, struct session *session, ESYS_TR storage, const TPM2B_NAME *name,
                  TPM2_SE type, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *salt = NULL;
        TPM2B_ENCRYPTED_SECRET encrypted;
        TPM2B_PUBLIC public;

        session_end(tpm, session);
        if (read_storage(tpm, storage, name, &public, err) < 0 ||
            session_salt_make(&public, &salt, &encrypted, err) < 0 ||
            wla_secret_new(KEY_MAX, &session->key, err) < 0)
                return -1;

        TSS2_RC rc = start(tpm, session, storage, type, salt, &encrypted);
        if (rc != TSS2_RC_SUCCESS)
                session_end(tpm, session);
        return tpm_check(tpm, rc, "opening a session with the TPM", err);
}
