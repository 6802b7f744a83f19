/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a process of its own does for the main process.
 *
 * It goes when the main process goes, holds no descriptor but its own and those of standard input, output,
 * error, the log and the kernel's random numbers, and has locked memory of its own: locks do not survive a fork.
 *
 * Threads: the only one, just forked.
 */

#include <sys/types.h>

#include "config/config.h"

struct child_job {
        int fd; /* the session's socket; -1: tidy up */
        const struct config *config;
};

/* The exit code is 0 also when the session failed. */
void child_run(const struct child_job *job, pid_t parent) __attribute__((noreturn));
