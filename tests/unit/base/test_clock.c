/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include "base/clock.h"

START_TEST(deadlines_move_and_end) {
        struct deadline deadline;
        uint64_t now = clock_now_usec();

        deadline_init(&deadline, now + 60 * USEC_PER_SEC);
        ck_assert_uint_gt(deadline_left_usec(&deadline), 59 * USEC_PER_SEC);
        deadline_extend(&deadline, now + 90 * USEC_PER_SEC);
        ck_assert_uint_gt(deadline_left_usec(&deadline), 89 * USEC_PER_SEC);
        deadline_extend(&deadline, now);
        ck_assert_uint_gt(deadline_left_usec(&deadline), 89 * USEC_PER_SEC);

        deadline_cancel(&deadline);
        ck_assert(deadline_cancelled(&deadline));
        deadline_extend(&deadline, now + 90 * USEC_PER_SEC);
        ck_assert(deadline_cancelled(&deadline));
        ck_assert_uint_eq(deadline_left_usec(&deadline), 0);

        deadline_init(&deadline, now - 1);
        ck_assert_uint_eq(deadline_left_usec(&deadline), 0);
        ck_assert(!deadline_cancelled(&deadline));
}
END_TEST

SUITE_MAIN("clock", deadlines_move_and_end)
