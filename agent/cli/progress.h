/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How far a long command is, on standard error when that is a terminal; nothing otherwise.
 *
 *   encrypting  [#############                 ]  45 %  1.8 of 4.0 GiB  1.2 GiB/s  0:02 left
 *
 * Threads: one.
 */

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_LINE_SIZE 160u

struct progress {
        const char *what;
        bool visible;
        uint64_t started_usec;
        uint64_t shown_usec;
};

struct progress progress_begin(const char *what);

/* At most ten times a second; struct image_progress takes it, with a struct progress as userdata. */
void progress_show(void *progress, uint64_t done, uint64_t size);

/* Wipes the line. */
void progress_end(struct progress *progress);

/* The line itself, without control characters. */
void progress_format(char to[PROGRESS_LINE_SIZE], const char *what, uint64_t done, uint64_t size,
                     uint64_t elapsed_usec);
