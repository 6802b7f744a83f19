/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Images of OpenStack that were made known: StateDirectory/images/UUID.header is the LUKS2 header of the
 * image that Glance calls UUID.  'wlagent image register' writes them; they hold nothing secret.
 *
 * Threads: any.  Failure: WLA_E_SYSTEM, WLA_E_INPUT.
 */

#include "base/uuid.h"

/* *ret_fd: the header, or -1 when the image is not registered. */
int registry_open(const char *state_directory, const struct uuid *image, int *ret_fd,
                  struct wla_error *err) _must_check_;
