/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Ends this process when what it does takes too long.
 *
 * libcryptsetup waits without limit for udev to be done with a device, and so does the kernel for a disk below
 * it.  When the time is over, the other side gets a refusal, and the process dies of SIGALRM: its main
 * process removes what it has left (volume/sweep.h).  What the kernel lets no signal interrupt, nobody can
 * end.
 *
 * Threads: the only one.
 */

#include "volume/message.h"

/* fd: the session's socket, which the refusal goes to. */
void watchdog_start(int fd, enum volumed_operation operation, uint64_t limit_usec);

void watchdog_stop(void);
