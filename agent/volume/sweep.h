/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Has the kernel remove each of our mappings at its last close, at once when nobody has it open.
 *
 * That is so already for all but those whose session was killed between making the mapping and asking.
 *
 * Threads: one at a time, in a process without others.  Failure: WLA_E_SYSTEM; the others are swept.
 */

#include "wlagent/error.h"

int sweep_mappings(struct wla_error *err) _must_check_;
