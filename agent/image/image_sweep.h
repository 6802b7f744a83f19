/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Goes over an image step by step, on several threads.
 *
 * Steps are given out from front to back; each worker has one in hand, so memory is bounded by their
 * number.  There are more of them than processors: while one waits for the disk, others compute.
 * A step is several pieces of the seal, since what a read or a write costs hardly depends on its size.
 *
 * Ownership: all that ops make is ended before image_sweep_run() returns.
 * Threads:   begin and end run on the calling thread, step on the workers, one at a time each.
 * Failure:   the first failure of any worker; the others stop after the step that they have in hand.
 */

#include <stddef.h>
#include <stdint.h>

#include "image/image_seal.h"
#include "wlagent/error.h"

#define IMAGE_STEP_SIZE (4u * IMAGE_PIECE_SIZE)

struct image_sweep_ops {
        int (*begin)(void *self, void **ret_worker, struct wla_error *err);
        /* number: 0 for the first step.  buffer: IMAGE_STEP_SIZE bytes, aligned to DISK_ALIGNMENT;
         * size: of this step. */
        int (*step)(void *worker, uint64_t number, uint8_t *buffer, size_t size,
                    struct wla_error *err);
        void (*end)(void *self, void *worker);
};

/* Called from time to time on the calling thread, and once at the end. */
struct image_progress {
        void (*show)(void *userdata, uint64_t done, uint64_t size); /* NULL: nobody looks */
        void *userdata;
};

struct image_sweep {
        const struct image_sweep_ops *ops;
        void *self;
        uint64_t size;        /* bytes */
        size_t worker_memory; /* what a worker allocates besides its buffer */
        const struct image_progress *progress;
};

int image_sweep_run(const struct image_sweep *sweep, struct wla_error *err) _must_check_;
