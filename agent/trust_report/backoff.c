/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/backoff.h"

#include "base/jitter.h"

static uint64_t by_chance(uint64_t pause_usec) {
        return jitter_usec(pause_usec / 2, pause_usec + 1);
}

uint64_t backoff_next(struct backoff *backoff) {
        if (backoff->pause_usec == 0)
                backoff->pause_usec = BACKOFF_FIRST;
        else if (backoff->pause_usec < BACKOFF_LONGEST / 2)
                backoff->pause_usec *= 2;
        else
                backoff->pause_usec = BACKOFF_LONGEST;
        return by_chance(backoff->pause_usec);
}

uint64_t backoff_longest(struct backoff *backoff) {
        backoff->pause_usec = BACKOFF_LONGEST;
        return by_chance(backoff->pause_usec);
}
