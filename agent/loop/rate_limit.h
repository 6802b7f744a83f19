/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keeps peers from filling the log: one line an interval, which tells how many were left out.
 *
 * The struct is embedded; {0} is ready for use.  Threads: one at a time.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define RATE_LIMIT_INTERVAL_USEC UINT64_C(5000000)

struct rate_limit {
        uint64_t quiet_until_usec;
        uint64_t left_out;
        char note[48]; /* to be put behind the line: what was left out before it, or "" */
};

/* Whether a line may be written now; then limit->note goes behind it. */
static inline bool rate_limit_allows(struct rate_limit *limit, uint64_t now_usec) {
        if (now_usec < limit->quiet_until_usec) {
                limit->left_out++;
                return false;
        }

        limit->note[0] = '\0';
        if (limit->left_out > 0)
                (void)snprintf(limit->note, sizeof(limit->note),
                               "; %" PRIu64 " more like this before", limit->left_out);
        limit->quiet_until_usec = now_usec + RATE_LIMIT_INTERVAL_USEC;
        limit->left_out = 0;
        return true;
}
