/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What Intel SecL's WLS (up to 4.2) answers about an image, and what it means:
 *
 *   GET /images/UUID/flavor-key?hardware_uuid=UUID   {"flavor":{...},"signature":"...","key":"..."}
 *   GET /images/UUID/flavors?flavor_part=IMAGE       {"flavor":{...},"signature":"..."}
 *
 * Only an answer of status 200 or 201 with a flavor that requires encryption and a key of the right length is
 * a key.  WLS says with 404 that an image has no flavor, and also that its database is down; with 200 and no
 * key that HVS said nothing on the host; with 500 whatever else.  All of these are refusals.
 *
 * Pure.  Failure: as source/wls_answer.h; *ret_ambiguous: the text could be better, the flavor alone may tell.
 */

#include "flavor/flavor.h"
#include "source/wls_answer.h"

struct wls_image_answer {
        struct flavor flavor;
        struct flavor_signature signature;
        uint8_t wrapped[RSA_WRAPPED_SIZE];
        bool ambiguous; /* on failure */
};

int wls_image_answer_read(const struct http_answer *answer, struct wls_image_answer *ret,
                          enum wls_next *ret_next, struct wla_error *err) _must_check_;

/* The answer about the flavor alone: why WLS gives no key with it. */
enum wls_flavor_state {
        WLS_FLAVOR_UNKNOWN,     /* no usable answer */
        WLS_FLAVOR_MISSING,     /* WLS has none for the image */
        WLS_FLAVOR_UNENCRYPTED, /* it says that the image is not encrypted */
        WLS_FLAVOR_THERE,
};

enum wls_flavor_state wls_flavor_answer_read(const struct http_answer *answer);
