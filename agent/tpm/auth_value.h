/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The secret of a TPM object: from the text that a configuration holds to the bytes that the TPM compares.
 *
 * Of a text of exactly 40 hex digits, and of one behind "hex:", the TPM gets the bytes that they stand for;
 * of any other its own bytes (Intel SecL 4.2).  Zeros at the end do not count for a TPM (Part 1, section
 * 19.6.4.3), and have to be left out where the secret is a key of an HMAC.
 *
 * Ownership: the decoded value is the caller's.
 * Threads:   any.
 * Failure:   WLA_E_INPUT for a text that stands for no secret; nothing of it is quoted.
 */

#include <tss2/tss2_tpm2_types.h>

#include "base/secret.h"

#define AUTH_VALUE_MAX 32u /* what a key with a SHA-256 name takes: Part 1, section 19.6.4.2 */

/* text: NULL for no secret.  *ret is NULL when the TPM's object has none. */
int auth_value_decode(const struct wla_secret *text, struct wla_secret **ret,
                      struct wla_error *err) _must_check_;

/* For the object that is about to be made; the caller wipes it. */
void auth_value_copy(const struct wla_secret *value, TPM2B_AUTH *ret);
