/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The host's signing key for callers that are not on the TPM's lane.
 *
 * Nobody waits for a signature as somebody waits for a key: its job is a patient one (loop/lane.h).
 *
 * Threads: any worker.
 * Failure: as lane_call() and tpm_sign() say; returns before the deadline.
 */

#include "loop/lane.h"
#include "tpm/host_key.h"

int signer_sign(struct lane *lane, const uint8_t digest[TPM_DIGEST_SIZE],
                const struct deadline *deadline, uint8_t ret[TPM_SIGNATURE_SIZE],
                struct wla_error *err) _must_check_;
