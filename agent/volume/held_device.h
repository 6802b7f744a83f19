/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Opens the device that device-mapper knows by a name, and no other.
 *
 * The link below /dev/mapper is udev's, and may lag behind the kernel: it may be missing still, or lead to
 * a device that has another name by now.
 *
 * Threads: one at a time.
 * Failure: WLA_E_BUSY while device and link do not agree, WLA_E_SYSTEM.
 */

#include "volume/mapping.h"

/* *ret_device is what the kernel says of it while it is held. */
int held_device_open(const char *name, struct mapping *ret, struct dm_device *ret_device,
                     struct wla_error *err) _must_check_;
