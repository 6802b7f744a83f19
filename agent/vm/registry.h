/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Images of OpenStack that were made known: StateDirectory/images/UUID.header is the LUKS2 header of the
 * image that Glance calls UUID.  With StateDirectory/images/UUID.wls, an empty file, its key comes from WLS by that
 * UUID, with its flavor.  'wlagent image register' writes them; they hold nothing secret.
 *
 * Threads: any.  Failure: WLA_E_SYSTEM, WLA_E_INPUT.
 */

#include "base/uuid.h"

/* *ret_fd: the header, or -1 when the image is not registered; *ret_wls: whether WLS has its key. */
int registry_open(const char *state_directory, const struct uuid *image, int *ret_fd, bool *ret_wls,
                  struct wla_error *err) _must_check_;
