/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys of VMs' images that Intel SecL's WLS knows by their UUID, each with the image's flavor:
 * GET BASE/images/UUID/flavor-key (WLS up to 4.2).
 *
 * A key goes on to the TPM only when its flavor is sound: signed by somebody who is trusted
 * (flavor/flavor_sign.h), unless that is switched off; of the part IMAGE; encrypted; with a key transfer link.
 * What it says of the image's file is for the launch to hold against the file (vm/launch_disk.h).
 *
 * Ownership: a source outlives its fetches, and what it borrows outlives it.
 * Threads:   as key/source.h says.
 * Failure:   as key/source.h says; the text names the flavor once it is known.
 */

#include "flavor/flavor_sign.h"
#include "key/source.h"
#include "source/wls_call.h"

struct wls_image_source;

struct wls_image_options {
        struct wls_service service;
        struct uuid hardware;
        bool verify;
        struct flavor_trust trust;
};

int wls_image_source_new(const struct wls_image_options *options, struct wls_image_source **ret,
                         struct wla_error *err) _must_check_;
struct wls_image_source *wls_image_source_free(struct wls_image_source *source);

/* For key_routes.sources[KEY_SCHEME_WLS]. */
struct key_source wls_image_source_as_source(struct wls_image_source *source);
