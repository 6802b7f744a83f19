/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which key of KBS an image's owner wants, in the words of Intel SecL's provider for ocicrypt: what stands
 * after provider:isecl:
 *
 *   any, nothing          a new key, for every host that is trusted
 *   asset-tag:USAGE       a new key, for hosts with these asset tags (kbs/key_usage.h)
 *   key-id:UUID           a key that KBS has
 *
 * ocicrypt writes "Enabled" for nothing.  Everything else is refused; the original made a key that any
 * trusted host gets of whatever it did not understand.
 *
 * Pure.  Failure: WLA_E_INPUT.
 */

#include "base/uuid.h"
#include "kbs/key_usage.h"

struct key_choice {
        bool exists;
        struct uuid id;         /* exists */
        struct key_usage usage; /* of a new one */
};

int key_choice_parse(const char *text, size_t size, struct key_choice *ret,
                     struct wla_error *err) _must_check_;

/* The UUID of a key in KBS, which are all of version 4. */
int key_choice_id(const char *text, size_t size, struct uuid *ret,
                  struct wla_error *err) _must_check_;
