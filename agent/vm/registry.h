/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Images of OpenStack that were made known: StateDirectory/images/UUID.header is the LUKS2 header of the
 * image that Glance calls UUID.  With StateDirectory/images/UUID.wls, an empty file, its key comes from WLS by that
 * UUID, with its flavor.  Then the header may be empty: the image is an ISecL-VMC file, which has none.
 * 'wlagent image register' writes them; they hold nothing secret.
 *
 * Ownership: the descriptor is the caller's.
 * Threads:   any.
 * Failure:   WLA_E_SYSTEM, WLA_E_INPUT.
 */

#include "base/uuid.h"

struct registered_image {
        bool found;    /* it is registered; else nothing else is said */
        bool wls;      /* WLS has its key */
        int header_fd; /* -1: it has none */
};

int registry_open(const char *state_directory, const struct uuid *image,
                  struct registered_image *ret, struct wla_error *err) _must_check_;
