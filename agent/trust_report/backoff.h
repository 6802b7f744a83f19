/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Pauses between attempts that fail: each up to twice as long as the last, at random, so that hosts which
 * failed together do not come back together.
 *
 * Threads: one at a time.  {0} is one that has not failed yet.
 */

#include <stdint.h>

#include "base/clock.h"

#define BACKOFF_FIRST   USEC_PER_SEC
#define BACKOFF_LONGEST (10 * 60 * USEC_PER_SEC)

struct backoff {
        uint64_t pause_usec; /* the last, before chance; 0: none yet */
};

/* From half of the pause to all of it. */
uint64_t backoff_next(struct backoff *backoff);

/* The longest at once: what has failed is for people to mend. */
uint64_t backoff_longest(struct backoff *backoff);

static inline void backoff_reset(struct backoff *backoff) {
        backoff->pause_usec = 0;
}
