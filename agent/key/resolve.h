/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From a request to a locked secret: source, envelope, opener.
 *
 * The routes are fixed at start-up: one source a scheme, one opener a kind of envelope.  Nothing in a
 * request chooses another.
 *
 * Threads: key_resolve() runs on a worker; the routes do not change while it does.
 */

#include "key/opener.h"
#include "key/source.h"

struct key_routes {
        struct key_source sources[_KEY_SCHEME_MAX];
        struct key_opener openers[_ENVELOPE_KIND_MAX];
};

/* *ret_terms: what the flavor says that came with the key, or {0}. */
int key_resolve(const struct key_routes *routes, const struct key_request *request,
                struct wla_secret **ret, struct flavor_terms *ret_terms,
                struct wla_error *err) _must_check_;
