/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The openers of ENVELOPE_TPM_BOUND and ENVELOPE_HOST_BOUND: TPM2_RSA_Decrypt on the TPM's lane, with the
 * key that the kind of envelope names and no other.
 *
 * Ownership: the lane and its struct tpm stay the caller's and outlive the opener.  A request that has
 *            passed its deadline leaves its job with the lane, which wipes it.
 * Threads:   open() from any worker.
 * Failure:   as struct key_opener_ops, tpm_unbind() and tpm_host_unbind().
 */

#include "key/opener.h"
#include "loop/lane.h"

/* The resource of the lane has to be a struct tpm. */
struct key_opener bind_opener(struct lane *lane);
struct key_opener host_bind_opener(struct lane *lane);
