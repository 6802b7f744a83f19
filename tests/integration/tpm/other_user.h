/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Somebody else who uses the same TPM.  What fails here ends the test. */

#include <stdbool.h>
#include <stdint.h>
#include <tss2/tss2_tpm2_types.h>

void other_user_extends(const char *tcti, uint32_t pcr);

/* Makes a primary key and persists it. */
void other_user_makes_key(const char *tcti, uint32_t handle, const TPM2B_PUBLIC *template);
void other_user_makes_key_with_password(const char *tcti, uint32_t handle,
                                        const TPM2B_PUBLIC *template, const char *password);

/* An attestation key; password: "" for none. */
void other_user_makes_aik(const char *tcti, uint32_t handle, const char *password);
void other_user_removes_key(const char *tcti, uint32_t handle);
bool other_user_has_key(const char *tcti, uint32_t handle);

void other_user_sets_owner_password(const char *tcti, const char *password);

/* TPM2_Clear: a new owner. */
void other_user_clears(const char *tcti);

/* Gives wrong passwords until the TPM locks out. */
void other_user_causes_lockout(const char *tcti);

void other_user_ends_lockout(const char *tcti);

/* Flushes all transient objects and sessions. */
void other_user_flushes(const char *tcti);

/* Leaves transient objects and sessions behind until the TPM has no room. */
void other_user_fills_up(const char *tcti);
