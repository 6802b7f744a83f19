/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which volumes the QEMU of a domain has open for writing.
 *
 * The process is the one in libvirt's PID file; the mode of an entry in /proc/PID/fd tells how it was opened
 * (proc(5)).  Devices are compared by number: QEMU has a /dev of its own.
 *
 * A QEMU that waits for its memory from another host opens its disks read-only, and for writing as soon as
 * libvirt has it take a copy of one (QEMU 7.2 to 10.0, libvirt 9.0 to 11.3: before "started").
 *
 * Threads: any.
 */

#include <stdbool.h>

/* volume: below /dev/mapper.  Returns why it cannot be told, or NULL. */
const char *qemu_writes_to(const char *domain, const char *volume, bool *ret);
