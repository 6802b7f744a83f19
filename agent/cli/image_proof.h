/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An image whose header, key, size, probe and seal have been checked: what 'image verify' tells of and
 * 'image decrypt' begins with.  Probe and seal hold as long as nobody has written to the image.
 *
 * Ownership: image_proof_done() ends it; source is for reading ciphertext.
 */

#include "cli/image_key_place.h"
#include "cli/invocation.h"
#include "image/disk_source.h"
#include "image/volume_key.h"

struct image_proof_options {
        const char *image;
        const char *header; /* NULL: image + ".header" */
        struct image_key_place place;
        bool changed; /* it has been written to: only header, key and size count */
};

struct image_proof {
        struct luks2_header header;
        struct wla_secret *volume_key;
        struct disk_source ciphertext;
};

/* Shows its progress. */
int image_prove(struct invocation *invocation, const struct image_proof_options *what,
                struct image_proof *ret, struct wla_error *err) _must_check_;
void image_proof_done(struct image_proof *proof);

#define _cleanup_image_proof_ __attribute__((cleanup(image_proof_done)))
