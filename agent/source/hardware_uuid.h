/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* By which UUID HVS knows this host: that of its firmware (SMBIOS 3.6, section 7.2.1), as the kernel shows
 * it to root in /sys/class/dmi/id/product_uuid.
 *
 * Failure: WLA_E_INPUT, _NOT_FOUND, _SYSTEM; the text names HardwareUUID=.
 */

#include "base/uuid.h"

/* option: "auto", or a UUID. */
int hardware_uuid_read(const char *option, struct uuid *ret, struct wla_error *err) _must_check_;
