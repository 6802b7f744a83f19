/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Something to ask of volumed that changes no VM: done on a worker, answered on the loop thread.
 *
 * Ownership: embedded first in its owner's struct, which stays until finish is called.
 * Threads:   work on a worker, finish on the loop thread.
 * Failure:   through finish.
 */

#include "loop/pool.h"
#include "vm/lifecycle.h"

struct errand {
        struct pool_job job; /* first: the pool hands it back */
        struct deadline deadline;
        int (*work)(struct errand *errand, struct wla_error *err);
        /* err is NULL on success. */
        void (*finish)(struct errand *errand, const struct wla_error *err);
        int outcome;
        struct wla_error err;
};

/* Either finish will be called, or -1 is returned. */
int errand_begin(struct errand *errand, struct lifecycle *lifecycle, uint64_t deadline_usec,
                 struct wla_error *err) _must_check_;
