/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Readies the TPM behind the start of the daemon, so that the first request does not pay for it and an
 * operator learns at once what is wrong.
 *
 * Ownership: frees itself; pool and lane have to live until the pool has handed the job back.
 * Threads:   called on the loop thread; works on the pool and on the TPM's lane.
 * Failure:   the outcome is logged as LOG_ID_TPM_READY or LOG_ID_TPM_LOST.
 */

#include "loop/lane.h"
#include "loop/pool.h"

/* lane: its resource is a struct tpm. device: the TCTI string, for the log. */
void tpm_warm_up(struct pool *pool, struct lane *lane, const char *device);
