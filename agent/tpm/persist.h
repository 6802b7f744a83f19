/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The binding key at a persistent handle: steps of tpm_run(), with a struct persist.
 *
 * Failure: WLA_E_TPM when the handle holds a key that is not ours, which is left alone, and when the
 *          owner hierarchy has a password.
 */

#include "tpm/context.h"

struct persist {
        uint32_t handle;
        const TPM2B_NAME *old_name; /* of the key there that may be evicted; NULL for none */
};

/* Writes the binding key of tpm->key, which is kept as blobs so far, to the handle, and notes it. */
int persist_step(struct tpm *tpm, void *arg, struct wla_error *err);

/* Evicts the old key. */
int persist_free_step(struct tpm *tpm, void *arg, struct wla_error *err);
