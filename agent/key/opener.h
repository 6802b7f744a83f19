/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What turns a wrapped key into a plaintext one: the only place that does.
 *
 * Ownership: the envelope stays the caller's; the secret is the caller's on success.
 * Threads:   open() runs on any worker, several at once, and does its own serialising.
 * Failure:   WLA_E_DENIED when the state of the host forbids it, WLA_E_TPM when an operator has to
 *            act, WLA_E_UNAVAILABLE, WLA_E_TIMEOUT; open() returns before the deadline.
 */

#include "base/clock.h"
#include "base/secret.h"
#include "key/envelope.h"

struct key_opener_ops {
        const char *name;
        int (*open)(void *self, const struct envelope *envelope, const struct deadline *deadline,
                    struct wla_secret **ret, struct wla_error *err);
};

struct key_opener {
        const struct key_opener_ops *ops; /* NULL: this kind cannot be opened here */
        void *self;
};
