/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What KBS answers to the owner of keys, and what it means.
 *
 * Only an answer of the right status and form is a success.  Which of the two routes for envelopes a
 * release has is told by its answer: 3.x and 4.x have no POST for that of 5.x, so 404 or 405.
 *
 * Pure.  Failure: WLA_E_DENIED, _NOT_FOUND, _UNAVAILABLE, _INPUT, with a hint for the owner; nothing of an
 * answer's body is quoted.
 * Source:  Intel SecL 3.6, 4.2 and 5.1, kbs.
 */

#include "base/uuid.h"
#include "http/http.h"
#include "kbs/envelope_key.h"
#include "kbs/key_usage.h"
#include "key/key_id.h"

enum kbs_next {
        KBS_FINAL,       /* another try would end as this one */
        KBS_NEW_TOKEN,   /* the token was refused */
        KBS_OTHER_ROUTE, /* this release has no such route */
};

struct kbs_made {
        struct uuid id;
        char link[KEY_ID_TEXT_MAX + 1]; /* as KBS wrote it */
        /* Who is given the key; empty where KBS tells none, or what nobody here has asked for: */
        struct key_usage usage;
        struct uuid policy;
};

/* POST /keys: 201. */
int kbs_answer_made(const struct http_answer *answer, struct kbs_made *ret, enum kbs_next *ret_next,
                    struct wla_error *err) _must_check_;

/* POST /keys/ID (5.x) and POST /keys/ID/transfer (3.x, 4.x): 200.  An envelope that names its key has to name
 * this one; those of 5.x name none. */
int kbs_answer_envelope(const struct http_answer *answer, const struct uuid *id,
                        uint8_t ret[ENVELOPE_SIZE], enum kbs_next *ret_next,
                        struct wla_error *err) _must_check_;
