/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Pauses of random length, so that hosts and requests which failed together do not come back together.
 *
 * Threads: any.
 * Failure: none; as long as the kernel has no randomness yet (early at boot) each pause is the shortest.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As getrandom(). */
typedef ssize_t jitter_source(void *to, size_t size, unsigned flags);

/* From least_usec on and below most_usec, which is greater: each as likely as the others. */
uint64_t jitter_usec(uint64_t least_usec, uint64_t most_usec);

/* The same, from another source of randomness than the kernel. */
uint64_t jitter_usec_from(jitter_source *source, uint64_t least_usec, uint64_t most_usec);
