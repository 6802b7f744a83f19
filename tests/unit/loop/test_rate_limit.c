/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/rate_limit.h"

#include "suite.h"

START_TEST(one_line_an_interval_and_a_count) {
        struct rate_limit limit = {0};
        uint64_t now_usec = 1000000000;

        ck_assert(rate_limit_allows(&limit, now_usec));
        ck_assert_str_eq(limit.note, "");
        for (int i = 0; i < 3; i++)
                ck_assert(!rate_limit_allows(&limit, now_usec + RATE_LIMIT_INTERVAL_USEC - 1));
        now_usec += RATE_LIMIT_INTERVAL_USEC;
        ck_assert(rate_limit_allows(&limit, now_usec));
        ck_assert_str_eq(limit.note, "; 3 more like this before");
        now_usec += RATE_LIMIT_INTERVAL_USEC;
        ck_assert(rate_limit_allows(&limit, now_usec));
        ck_assert_str_eq(limit.note, "");
}
END_TEST

SUITE_MAIN("rate_limit", one_line_an_interval_and_a_count)
