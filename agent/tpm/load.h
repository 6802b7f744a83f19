/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a context holds: the storage key, a session salted to it, the binding key.  Each function
 * returns at once when the context has it already; all run inside a step of tpm_run(). */

#include "tpm/context.h"

/* Finds the storage key at STORAGE_KEY_HANDLE; *ret_found is false when there is none, or when the
 * context was lost.  Compares nothing. */
int storage_key_find(struct tpm *tpm, bool *ret_found, struct wla_error *err) _must_check_;

/* Finds the storage key and compares its Name with the one that tpm->key pins. */
int storage_key_open(struct tpm *tpm, struct wla_error *err) _must_check_;

/* Makes the storage key and persists it; needs the owner hierarchy without a password. */
int storage_key_make(struct tpm *tpm, struct wla_error *err) _must_check_;

/* tpm->session, of this type: TPM2_SE_HMAC or TPM2_SE_POLICY.  Replaces one of the other type. */
int binding_session_open(struct tpm *tpm, TPM2_SE type, struct wla_error *err) _must_check_;

/* Loads the blobs of tpm->key or finds its handle, and compares the Name. */
int binding_key_open(struct tpm *tpm, struct wla_error *err) _must_check_;

/* tpm_check() for a command that the empty password of the storage key authorises. */
int storage_key_check(struct tpm *tpm, TSS2_RC rc, const char *doing,
                      struct wla_error *err) _must_check_;

/* Finds a persistent object; *ret_name is filled in when it is there. */
int persistent_find(struct tpm *tpm, uint32_t handle, bool *ret_found, ESYS_TR *ret,
                    TPM2B_NAME *ret_name, struct wla_error *err) _must_check_;
