/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where the key of an image that exists comes from: a file, KBS, or wlagentd.
 *
 * Failure: as cli/input.h and cli/owner.h; WLA_E_INPUT for options that do not belong together.
 */

#include "base/secret.h"
#include "key/key_id.h"

struct image_key_place {
        const char *key_file; /* 32 raw bytes, "-" for standard input; or NULL */
        const char *kbs;      /* base URL of KBS, or "configured"; or NULL */
        const char *kbs_key;  /* the key's UUID in KBS, where the image does not tell; or NULL */
        const char *out;      /* the file that is written with it, if any */
};

static inline bool image_key_place_is_kbs(const struct image_key_place *place) {
        return place->kbs || place->kbs_key;
}

/* Whether they are of one place: the command line's fault otherwise. */
int image_key_place_check(const struct image_key_place *place, struct wla_error *err) _must_check_;

/* From file or KBS.  named: what the image says of its key, or NULL. */
int image_key_place_fetch(const struct image_key_place *place, const struct key_id *named,
                          struct wla_secret **ret, struct wla_error *err) _must_check_;
