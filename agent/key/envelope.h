/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A wrapped key on its way from a source to the opener of its kind: ciphertext, and the flavor that came
 * with it. */

#include "base/buf.h"
#include "base/rsa_wrap.h"
#include "flavor/flavor_verdict.h"

enum envelope_kind {
        /* RSA-OAEP, RSA_WRAPPED_SIZE bytes: */
        ENVELOPE_TPM_BOUND,  /* to the binding key that wlagent setup has made */
        ENVELOPE_HOST_BOUND, /* to the one that Intel SecL's HVS has certified for this host */
        _ENVELOPE_KIND_MAX,
};

struct envelope {
        enum envelope_kind kind;
        struct buf bytes;
        char binding_key
                [KEY_FINGERPRINT_SIZE]; /* TPM_BOUND: whom it is for; "" when the source does
                                                   not say */
        struct flavor_terms terms;      /* {0}: the source knows no flavors */
};

#define ENVELOPE_SIZE_MAX 65536u

static inline void envelope_clear(struct envelope *envelope) {
        buf_clear(&envelope->bytes);
}

#define _cleanup_envelope_ __attribute__((cleanup(envelope_clear)))
