/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What tpm->host_keys holds of a key: its file and its secret, read when they are needed, and whether the TPM
 * has refused that secret. */

#include "tpm/context.h"

/* Reads file and credential unless they are as they were; forgets what was loaded of the old ones, and
 * a refusal of these. */
int host_key_slot_refresh(struct tpm *tpm, enum host_key_usage usage,
                          struct wla_error *err) _must_check_;

/* Whether that would do nothing. */
bool host_key_slot_is_fresh(const struct tpm *tpm, enum host_key_usage usage);

/* Runs inside a step, before a command that the secret authorises: fails when the TPM would count another
 * wrong authorisation, or is locked out. */
int host_key_slot_may_ask(struct tpm *tpm, enum host_key_usage usage,
                          struct wla_error *err) _must_check_;

/* After such a command that has failed: notes a refusal of the secret, and says so in err.  Returns -1. */
int host_key_slot_failed(struct tpm *tpm, enum host_key_usage usage, struct wla_error *err);

/* The same, of an answer that nobody waits for: secret is what authorised the command, NULL for a key that has none. */
void host_key_slots_note(struct tpm *tpm, const struct wla_secret *secret, TSS2_RC rc);

void host_key_slots_clear(struct tpm *tpm);
