/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The asset tags that a host must have to be given a key: what KBS keeps as the key's "usage".
 *
 *   NAME:VALUE[,NAME:VALUE...]
 *
 * Names and values are letters and digits: nothing else passes every program between owner and host.  KBS
 * wants all pairs, and compares values without case, so a name that comes twice fits no host.
 *
 * Pure.  Failure: WLA_E_INPUT.  A usage that cannot be read is never no usage.
 * Source:  Intel SecL 4.2, kbs (usage of a key) and wpm (asset-tag).
 */

#include <stddef.h>

#include "wlagent/error.h"

#define KEY_USAGE_MAX  255u
#define KEY_USAGE_TAGS 16u

struct key_usage {
        char text[KEY_USAGE_MAX + 1]; /* "": every host that is trusted */
};

int key_usage_parse(const char *text, size_t size, struct key_usage *ret,
                    struct wla_error *err) _must_check_;
