/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether libvirt runs wlagent's hook when it starts a VM: the file is one that it runs, and it has looked for
 * hooks since that came there.
 *
 * Threads: one.
 */

#include "cli/libvirt_host.h"

struct libvirt_hook_fault {
        char text[256];
        const char *remedy;
};

/* Where no daemon is running, the one that is started will. */
bool libvirt_hook_runs(const struct libvirt_host *host, struct libvirt_hook_fault *ret_fault);
