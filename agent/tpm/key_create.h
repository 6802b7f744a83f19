/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Makes a key in a session of the agent's own (session.h): its secret does not cross the bus in clear, and that public
 * and private part come from the TPM that holds the parent is proven.
 *
 * Ownership: all is the caller's.
 * Threads:   as struct tpm.
 * Failure:   a TSS2_RC for tpm_check(), as session_execute().
 * Source:    TPM 2.0 Library, Part 3, section 12.1.
 */

#include "tpm/session.h"

/* use: of the key at parent. */
TSS2_RC key_create(struct tpm *tpm, TPM2_HANDLE parent, const struct session_use *use,
                   const TPM2B_SENSITIVE_CREATE *sensitive, const TPM2B_PUBLIC *template,
                   TPM2B_PRIVATE *ret_private, TPM2B_PUBLIC *ret_public) _must_check_;
