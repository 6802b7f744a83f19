/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Monotonic time in microseconds, and deadlines that can be moved by another thread.
 *
 * A request has one deadline, made when it arrives and passed down by pointer.  To cancel a
 * request is to move its deadline into the past.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC  UINT64_C(1000000)

/* CLOCK_MONOTONIC. */
uint64_t clock_now_usec(void);

struct deadline {
        _Atomic uint64_t at_usec; /* 0: cancelled */
};

void deadline_init(struct deadline *deadline, uint64_t at_usec);

/* Moves the deadline to at_usec unless it is later already; a cancelled one stays cancelled. */
void deadline_extend(struct deadline *deadline, uint64_t at_usec);
void deadline_cancel(struct deadline *deadline);

bool deadline_cancelled(const struct deadline *deadline);

/* Time left; 0 when passed or cancelled. */
uint64_t deadline_left_usec(const struct deadline *deadline);
