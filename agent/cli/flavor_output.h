/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The signed flavor of an image, as a file beside it: what WLS is given with POST /flavors.
 *
 * What can fail before the image is encrypted fails then: the signing key is tried, the file is opened.
 *
 * Ownership: flavor_output_done() ends it, published or not.
 * Threads:   one.
 * Failure:   WLA_E_INPUT for options and keys, as flavor/flavor_sign.h and image/pending_file.h.
 */

#include "base/secret.h"
#include "flavor/flavor.h"
#include "image/ordered_digest.h"
#include "image/pending_file.h"
#include "key/key_id.h"

struct flavor_options {
        const char *path;     /* of the flavor; NULL: none is made */
        const char *key_path; /* of the signing key, PEM */
        const char *label;
        bool replace;
};

struct flavor_output {
        struct flavor_options options;
        struct wla_secret *signer;
        struct pending_file file;
};

#define FLAVOR_OUTPUT ((struct flavor_output){.file = PENDING_FILE})

/* Whether they belong together: the command line's fault otherwise. */
int flavor_options_check(const struct flavor_options *options, struct wla_error *err) _must_check_;

/* ret is FLAVOR_OUTPUT on entry; without a path it stays so. */
int flavor_output_begin(const struct flavor_options *options, struct flavor_output *ret,
                        struct wla_error *err) _must_check_;

/* key: a transfer link of KBS; NULL for an image that is not encrypted. */
int flavor_output_write(struct flavor_output *output, const struct key_id *key,
                        const uint8_t digest[SHA384_SIZE], struct wla_error *err) _must_check_;

/* After the image has its name. */
int flavor_output_publish(struct flavor_output *output, struct wla_error *err) _must_check_;

void flavor_output_done(struct flavor_output *output);

#define _cleanup_flavor_output_ __attribute__((cleanup(flavor_output_done)))

/* Whether a flavor can name this key: hosts fetch it by its link. */
int flavor_key_check(const struct key_id *key, struct wla_error *err) _must_check_;
