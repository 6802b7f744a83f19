/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* PCRs of the SHA-256 bank, and the policy that binds a key to them.
 * Source: TPM 2.0 Library, Part 3, sections 22.4 (PCR_Read), 23.7 (PolicyPCR). */

#include "tpm/context.h"

/* Reads the PCRs of the mask into values[PCR number]. */
int pcr_read(struct tpm *tpm, uint32_t pcrs, uint8_t values[PCR_COUNT][PCR_SHA256_SIZE],
             struct wla_error *err) _must_check_;

/* The policy digest that PCRs of these values give; computed here, the TPM is not asked. */
int pcr_policy_compute(uint32_t pcrs, uint8_t values[PCR_COUNT][PCR_SHA256_SIZE], TPM2B_DIGEST *ret,
                       struct wla_error *err) _must_check_;

/* Makes tpm->session, a policy session, satisfy the policy of tpm->key.  WLA_E_DENIED, with the PCRs that
 * differ, when the host has changed. */
int pcr_policy_satisfy(struct tpm *tpm, struct wla_error *err) _must_check_;
