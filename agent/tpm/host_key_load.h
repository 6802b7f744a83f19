/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a context holds of Intel SecL's keys: the Trust Agent's storage key, a session salted to it, one key
 * at a time.  Each function returns at once when the context has it already; all run inside a step of
 * tpm_run(). */

#include "tpm/context.h"

/* Fails with what the Trust Agent should have done when there is none. */
int host_storage_open(struct tpm *tpm, struct wla_error *err) _must_check_;

/* The Trust Agent's attestation key at a handle: its public half and the name of that. */
int host_aik_open(struct tpm *tpm, uint32_t handle, TPM2B_NAME *ret_name, uint8_t ret_modulus[256],
                  struct wla_error *err) _must_check_;

/* For a command that uses it. */
TPM2B_NAME host_key_name(const struct host_key *key);

/* Whether the attestation names the storage key of this TPM as parent: a key of another TPM, or of this one
 * before it was cleared, is told from a damaged one.  When this or host_key_load() fails for the key's own sake it
 * sets tpm->host_key_foreign. */
int host_key_check_parent(struct tpm *tpm, const struct host_key *key,
                          struct wla_error *err) _must_check_;

/* The caller flushes *ret. */
int host_key_load(struct tpm *tpm, const struct host_key *key, ESYS_TR *ret,
                  struct wla_error *err) _must_check_;

/* Loads the key of the slot of this usage, storage key and session included. */
int host_key_open(struct tpm *tpm, enum host_key_usage usage, struct wla_error *err) _must_check_;

/* Before a command that the empty password of the storage key authorises: fails when a storage key of this name
 * has refused it, as the TPM would count another wrong authorisation.  A key that the same seed and template
 * make anew has the same name, with a password or without. */
int host_storage_may_ask(struct tpm *tpm, struct wla_error *err) _must_check_;

/* tpm_check() for such a command; remembers a refusal. */
int host_storage_check(struct tpm *tpm, TSS2_RC rc, const char *doing,
                       struct wla_error *err) _must_check_;
