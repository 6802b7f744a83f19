/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Opening a wrapped key with the binding key of tpm->key, whether or not it is in the state directory:
 * what tpm_unbind() does after it has read the file, and what setup proves a new key with. */

#include "tpm/context.h"

int unbind_key(struct tpm *tpm, struct wla_bytes wrapped, const struct deadline *deadline,
               struct wla_secret **ret, struct wla_error *err) _must_check_;
