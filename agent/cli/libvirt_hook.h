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

enum libvirt_hook {
        LIBVIRT_HOOK_RUNS,
        LIBVIRT_HOOK_MAY_RUN, /* it came there while libvirt was at looking for hooks */
        LIBVIRT_HOOK_FAILS,
};

/* Where no daemon is running, the one that is started will.  *ret_fault: unless it runs. */
enum libvirt_hook libvirt_hook_check(const struct libvirt_host *host,
                                     struct libvirt_hook_fault *ret_fault);
