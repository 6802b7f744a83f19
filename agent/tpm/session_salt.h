/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The salt of a session (session.h): what only the agent and the TPM that holds a certain storage key can know.
 *
 * Ownership: the salt is the caller's.
 * Threads:   any.
 * Failure:   WLA_E_TPM for a storage key that cannot be used for it; WLA_E_BUSY without memory.
 * Source:    TPM 2.0 Library, Part 1, sections 11.4.10.3 (KDFe) and 19.6.13, annexes B.10 (RSA) and C.6 (ECC).
 */

#include <tss2/tss2_tpm2_types.h>

#include "base/secret.h"

/* storage: RSA, or ECC on P-256, P-384 or P-521, with SHA-256 as name algorithm.  The caller has made sure that
 * it is the right one. */
int session_salt_make(const TPM2B_PUBLIC *storage, struct wla_secret **ret_salt,
                      TPM2B_ENCRYPTED_SECRET *ret_encrypted, struct wla_error *err) _must_check_;
