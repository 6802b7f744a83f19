/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* TPM2_RSA_Decrypt of a wrapped key: the one place where a plaintext key comes out of the TPM. */

#include "tpm/context.h"

/* key is loaded, and use tells how to use it; the TPM encrypts its answer.  Runs inside
 * a step of tpm_run(); counted and timed. */
int rsa_decrypt(struct tpm *tpm, ESYS_TR key, const struct session_use *use,
                struct wla_bytes wrapped, struct wla_secret **ret,
                struct wla_error *err) _must_check_;
