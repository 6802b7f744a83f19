/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* TPM2_RSA_Decrypt of a wrapped key: the one place where a plaintext key comes out of the TPM.
 *
 * While the TPM works on one, the next may be prepared.  It goes to the TPM when the answer to the first has been found
 * good, before that is decrypted and handed over, so that the TPM does not wait for the agent.  Then it is under way until
 * rsa_decrypt() for it receives the answer, or rsa_decrypt_end() does without it: until then nothing else may be sent to
 * the TPM.  Both are in the same session, which is in step at each moment in which a command is authorised.  When one
 * fails, what was prepared behind it is forgotten, and begins anew; but not when the TPM has refused its secret.
 *
 * A decryption is known by where its wrapped key is in memory.
 *
 * Threads: as struct tpm.
 */

#include "tpm/context.h"

/* key is loaded, and use tells how to use it; the TPM encrypts its answer.  Runs inside
 * a step of tpm_run(); counted and timed. */
int rsa_decrypt(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                struct wla_bytes wrapped, struct wla_secret **ret,
                struct wla_error *err) _must_check_;

/* Within what tpm_while_at_work() has called: prepares what is to follow, when that is possible without the TPM.  wrapped is
 * to stay until rsa_decrypt_end(), key and use until the TPM is asked for anything else. */
void rsa_decrypt_prepare(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                         struct wla_bytes wrapped);

/* Whether it has been sent, and waits for its rsa_decrypt(). */
bool rsa_decrypt_under_way(const struct tpm *tpm, struct wla_bytes wrapped);

/* When nobody will call rsa_decrypt() for it any more; nothing unless it is under way.  Returns what the TPM said. */
TSS2_RC rsa_decrypt_end(struct tpm *tpm, struct wla_bytes wrapped);

/* The connection goes; with answer, what is under way is waited for, so that another command can be sent before. */
void rsa_decrypt_clear(struct tpm *tpm, bool answer);
