/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The JSON that a keyprovider answers, written straight into locked memory.
 *
 *   {"keyunwrapresults":{"optsdata":[123,34,...]}}
 *   {"keywrapresults":{"annotation":[123,34,...]}}
 *
 * Bytes are arrays of integers: Go's ocicrypt takes them as well as base64, Rust's takes nothing else.
 *
 * Threads: any.  Failure: WLA_E_BUSY when the secure heap is exhausted, WLA_E_INPUT when data is too
 * large for one secret.
 */

#include "base/secret.h"
#include "keyprovider/provider_request.h"

enum provider_framing {
        PROVIDER_BARE,     /* JSON alone, for the cmd transport */
        PROVIDER_PROTOBUF, /* field 1 of keyProviderKeyWrapProtocolOutput */
};

int provider_reply_new(enum provider_operation operation, enum provider_framing framing,
                       struct wla_bytes data, struct wla_secret **ret,
                       struct wla_error *err) _must_check_;
