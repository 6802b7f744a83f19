/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a flavor says of an image that a VM was started with, and what of it was verified then.
 *
 * It comes with the image's key from WLS (source/wls_image.h), is completed when the image has been looked at
 * (vm/launch_disk.h), is kept with the disk in the record of its VM (vm/vm.h), and is what a trust report is
 * made of.
 *
 * All by value.
 */

#include "flavor/flavor.h"

struct flavor_verdict {
        bool present; /* false: the image has its key without a flavor, all else means nothing */
        struct uuid image; /* as WLS knows it */
        struct uuid flavor;
        bool encryption_required;
        bool integrity_enforced;
        bool signature_verified; /* false: VerifyFlavors=no */
        bool digest_verified;    /* the image's file is the one that the flavor is for */
};

/* What a launch has to hold the image against, besides. */
struct flavor_terms {
        struct flavor_verdict verdict;
        char key_url[FLAVOR_TEXT_SIZE]; /* a key transfer link */
        uint8_t digest[FLAVOR_DIGEST_SIZE];
};
