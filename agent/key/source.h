/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where wrapped keys come from.  A source fetches, it never opens.
 *
 * Ownership: *ret is empty on entry, the caller's on success, cleared on failure by the caller.
 * Threads:   fetch() runs on any worker, several at once; self does not change after its making.
 * Failure:   WLA_E_NOT_FOUND, _DENIED, _TIMEOUT, _UNAVAILABLE, _INPUT, _SYSTEM; fetch() returns
 *            before the request's deadline.
 */

#include <stdbool.h>

#include "key/envelope.h"
#include "key/request.h"

struct key_source_ops {
        const char *name; /* metric label and word in messages */
        int (*fetch)(void *self, const struct key_request *request, struct envelope *ret,
                     struct wla_error *err);
        /* What keeps fetches waiting now, for a request whose time was up before its fetch was begun;
         * false when nothing does.  NULL: nothing ever does.  Any thread. */
        bool (*obstacle)(void *self, struct wla_error *err);
};

struct pool;

struct key_source {
        const struct key_source_ops *ops; /* NULL: no source is configured */
        void *self;
        struct pool *pool; /* of its own, where waiting keeps no other source's keys; NULL: none */
};
