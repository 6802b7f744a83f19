/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys of Intel SecL's key broker, by way of its workload service: POST BASE/keys (WLS 4.1 and later).
 *
 * WLS has HVS judge this host by a fresh quote of its TPM, and KBS wrap the key to the binding key that
 * HVS has certified.  What arrives is ciphertext for this TPM: an ENVELOPE_HOST_BOUND.
 *
 * Ownership: a source outlives its fetches, and what it borrows outlives it.
 * Threads:   as key/source.h says.
 * Failure:   as key/source.h says; the text tells what to look at (source/wls_answer.h).
 */

#include "key/source.h"
#include "source/key_origin.h"
#include "source/wls_call.h"

struct wls_source;

struct wls_options {
        struct wls_service service;
        struct uuid hardware;
        struct key_origins allowed;
};

int wls_source_new(const struct wls_options *options, struct wls_source **ret,
                   struct wla_error *err) _must_check_;
struct wls_source *wls_source_free(struct wls_source *source);

struct key_source wls_source_as_source(struct wls_source *source);
