/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The options that say which key of KBS an owner wants, of any command that has them.
 *
 * Failure: WLA_E_INPUT, for the command line's fault.
 */

#include "cli/owner.h"

struct owner_options {
        const char *kbs_key;   /* a UUID, or NULL */
        const char *asset_tag; /* NAME:VALUE[,...], or NULL */
        const char *policy;    /* a UUID, or NULL */
        const char *label;     /* or NULL */
};

/* policy: what ret->policy points to, if anything. */
int owner_options_read(const struct owner_options *options, struct uuid *policy,
                       struct owner_key_wish *ret, struct wla_error *err) _must_check_;
