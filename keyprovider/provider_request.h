/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The JSON that ocicrypt sends to a keyprovider, as a typed value.
 *
 * Wire: ocicrypt docs/keyprovider.md; member names are compared without case, as Go does.  Bytes come
 * as base64 (Go), as JSON text in a string (Rust, optsdata), or as an array of integers (Rust).
 * The decrypt configuration "dc" may hold private keys of the node: it is never decoded.
 *
 * Ownership: the request's buffers are the caller's; provider_request_clear() wipes them.
 * Threads:   pure functions.
 * Failure:   WLA_E_INPUT, WLA_E_BUSY above the limits; never with content in the text.
 */

#include "base/buf.h"
#include "base/secret.h"
#include "key/key_id.h"

/* Decoded sizes.  ocicrypt's private layer options take about 190 bytes, a packet about 450; a reply
 * spends up to four bytes on one byte and has to fit into one secret. */
#define PROVIDER_OPTIONS_MAX    8192u
#define PROVIDER_ANNOTATION_MAX 32768u

enum provider_operation {
        PROVIDER_UNKNOWN = 0,
        PROVIDER_WRAP,
        PROVIDER_UNWRAP,
};

struct provider_request {
        enum provider_operation operation;
        struct buf annotation; /* unwrap: the packet */
        struct buf options;    /* wrap: the plaintext to seal */
        struct key_id key;     /* wrap: from the parameter key=NAME */
};

int provider_request_parse(struct wla_bytes json, struct provider_request *ret,
                           struct wla_error *err) _must_check_;

void provider_request_clear(struct provider_request *request);

#define _cleanup_request_ __attribute__((cleanup(provider_request_clear)))

/* The operation alone, of a request that somebody else may have to answer. */
int provider_operation_read(struct wla_bytes json, enum provider_operation *ret,
                            struct wla_error *err) _must_check_;

/* A wrap for a provider that takes one free text, as Intel SecL's does: the text is what its user has
 * written behind "provider:NAME:". */
#define PROVIDER_PARAMETER_MAX 1024u

struct provider_wrap {
        struct buf parameter; /* may be empty */
        struct buf options;   /* the plaintext to seal */
};

/* The request has to be a wrap, and to have exactly one parameter for the provider of that name. */
int provider_wrap_parse(struct wla_bytes json, const char *name, struct provider_wrap *ret,
                        struct wla_error *err) _must_check_;

void provider_wrap_clear(struct provider_wrap *wrap);

#define _cleanup_provider_wrap_ __attribute__((cleanup(provider_wrap_clear)))

/* "wrap", "unwrap", "unknown". */
const char *provider_operation_name(enum provider_operation operation);
