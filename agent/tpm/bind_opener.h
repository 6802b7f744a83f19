/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The opener of ENVELOPE_TPM_BOUND: TPM2_RSA_Decrypt on the TPM's lane.
 *
 * Ownership: the lane and its struct tpm stay the caller's and outlive the opener.  A request that has
 *            passed its deadline leaves its job with the lane, which wipes it.
 * Threads:   open() from any worker.
 * Failure:   as struct key_opener_ops and tpm_unbind().
 */

#include "key/opener.h"
#include "loop/lane.h"

/* The resource of the lane has to be a struct tpm. */
struct key_opener bind_opener(struct lane *lane);
