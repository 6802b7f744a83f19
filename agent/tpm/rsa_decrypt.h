/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* TPM2_RSA_Decrypt of a wrapped key: the one place where a plaintext key comes out of the TPM. */

#include "tpm/context.h"

/* key is loaded, session authorises it and has the TPM encrypt its answer.  Runs inside a step of tpm_run();
 * counted and timed. */
int rsa_decrypt(struct tpm *tpm, ESYS_TR key, ESYS_TR session, struct wla_bytes wrapped,
                struct wla_secret **ret, struct wla_error *err) _must_check_;

/* What tpm2-tss has left on the stack: to be called behind the tpm_run() in which rsa_decrypt() ran. */
void rsa_decrypt_wipe_stack(void);
