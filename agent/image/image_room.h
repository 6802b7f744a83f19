/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether VMs can write to an image itself.  A compact one is as large as what was in it when it was made:
 * the qcow2 inside would run out of room, and nothing can give it more, because the header has the size.
 *
 * Threads: pure.
 * Failure: WLA_E_UNSUPPORTED when it has no room for all of its disk.
 */

#include "image/token.h"

int image_room_check(const struct image_token *token, struct wla_error *err) _must_check_;
