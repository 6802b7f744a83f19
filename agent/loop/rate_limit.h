/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keeps peers from filling the log: one line an interval, which tells how many were left out.
 *
 * The struct is embedded; {0} is ready for use.  Threads: one at a time.
 */

#include <stdbool.h>
#include <stdint.h>

#define RATE_LIMIT_INTERVAL_USEC UINT64_C(5000000)

struct rate_limit {
        uint64_t quiet_until_usec;
        uint64_t left_out;
};

/* Whether a line may be written now; *ret_left_out is the number of lines suppressed before it. */
static inline bool rate_limit_allows(struct rate_limit *limit, uint64_t now_usec,
                                     uint64_t *ret_left_out) {
        if (now_usec < limit->quiet_until_usec) {
                limit->left_out++;
                return false;
        }

        limit->quiet_until_usec = now_usec + RATE_LIMIT_INTERVAL_USEC;
        *ret_left_out = limit->left_out;
        limit->left_out = 0;
        return true;
}
