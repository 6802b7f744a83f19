/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Ends this process when what it does takes too long.
 *
 * libcryptsetup waits without limit for udev to be done with a device, and so does the kernel for a disk or
 * the server of a file system below it.  When the time is over, the other side gets a refusal, and the
 * process dies of SIGALRM: its main process removes what it has left (volume/sweep.h).  Where the kernel
 * lets nothing but SIGKILL interrupt, as for NFS and for a page that is being read, it dies of that a
 * little later, and the other side sees the session end.  What not even that interrupts, nobody can end.
 *
 * Threads: the only one.  Failure: WLA_E_SYSTEM, and nothing is watched.
 */

#include "volume/message.h"
#include "wlagent/error.h"

/* fd: the session's socket, which the refusal goes to after limit_usec; killed after kill_usec.  With
 * watchdog_stop() after it. */
int watchdog_start(int fd, enum volumed_operation operation, uint64_t limit_usec,
                   uint64_t kill_usec, struct wla_error *err) _must_check_;

void watchdog_stop(void);
