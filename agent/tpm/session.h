/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A session in which the agent uses a key.  It is salted to a storage key whose Name the caller knows: only the
 * TPM that holds that key can take part.  Every command and every answer bears an HMAC over nonces that are used
 * once, so that none is altered, repeated or made up on the bus, and what is secret in them is encrypted.  That keeps
 * nobody from sending commands outside of it: a key without a secret is used by whoever reaches the TPM (SECURITY.md).
 *
 * tpm2-tss has such sessions, too. But it salts them to the public area that it was told of, without comparing that with
 * the Name: who answers with an area of his own and the true Name learns the salt. For each digest it loads a provider of
 * OpenSSL anew (src/tss2-esys/esys_crypto_ossl.c, 3.2 to 4.1), which takes longer than a command does in a fast TPM. And
 * it decrypts an answer on its stack and in its command buffer, where the key would stay; here it is decrypted from that
 * buffer into locked memory and nowhere else.
 *
 * Ownership: struct session is part of its owner.  Its key is in locked memory, from session_start() to
 *            session_end() or session_forget().
 * Threads:   as struct tpm.
 * Failure:   a TSS2_RC for tpm_check(): of the TPM or its connection, and
 *            TSS2_ESYS_RC_RSP_AUTH_FAILED       the answer is not from that TPM, or was altered, or says nothing
 *                                               of the session
 *            TSS2_ESYS_RC_MALFORMED_RESPONSE    it is none to this command
 *            TSS2_ESYS_RC_MEMORY
 * Source:    TPM 2.0 Library, Part 1, sections 18 and 19; Part 3, section 11.1.
 */

#include <tss2/tss2_esys.h>
#include <tss2/tss2_sys.h>

#include "base/secret.h"
#include "tpm/session_crypto.h"

struct tpm;

struct session {
        TPM2_HANDLE handle; /* 0: there is none */
        TPM2_SE type;
        uint8_t nonce_tpm[SESSION_DIGEST_SIZE];
        struct wla_secret *key; /* with room for an authorisation value behind it */
};

/* storage: has to have this Name.  type: TPM2_SE_HMAC or TPM2_SE_POLICY.  What was there before is ended. */
int session_start(struct tpm *tpm, struct session *session, ESYS_TR storage, const TPM2B_NAME *name,
                  TPM2_SE type, struct wla_error *err) _must_check_;

/* Flushes it. */
void session_end(struct tpm *tpm, struct session *session);

/* Without asking the TPM, which has lost it. */
void session_forget(struct session *session);

/* For Tss2_Sys_*; NULL without a context. */
TSS2_SYS_CONTEXT *session_sys(struct tpm *tpm);

/* A key that a command uses, and the session in which it does. */
struct session_use {
        struct session *session;
        const TPM2B_NAME *key_name;
        const struct wla_secret
                *auth; /* the key's secret; NULL for none, and in a policy session */
};

/* A command that Tss2_Sys_*_Prepare() has prepared and that uses one key, or two in a session each. */
struct session_command {
        struct session_use use;
        const struct session_use *second; /* NULL for none */
        bool encrypt;                     /* its first parameter */
};

/* When it fails its sessions have ended, and the next command takes new ones: an error bears no HMAC, so that nobody knows
 * whether the TPM has sent it, and which nonce it expects next.
 * into: NULL; or for the only parameter of the answer, a TPM2B, which the TPM then encrypts: at least as large as that
 * may be, and truncated to what it is.  Of the rest Tss2_Sys_*_Complete() tells. */
TSS2_RC session_execute(struct tpm *tpm, const struct session_command *command,
                        struct wla_secret *into) _must_check_;
