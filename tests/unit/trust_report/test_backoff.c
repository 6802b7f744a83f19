/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/backoff.h"

#include "suite.h"

START_TEST(pauses_grow_to_the_longest) {
        struct backoff backoff = {0};
        uint64_t most_usec = BACKOFF_FIRST;

        for (int i = 0; i < 20; i++) {
                uint64_t pause_usec = backoff_next(&backoff);

                ck_assert_uint_ge(pause_usec, most_usec / 2);
                ck_assert_uint_le(pause_usec, most_usec);
                most_usec = most_usec < BACKOFF_LONGEST / 2 ? 2 * most_usec : BACKOFF_LONGEST;
        }
        ck_assert_uint_eq(most_usec, BACKOFF_LONGEST);
}
END_TEST

START_TEST(at_once_and_anew) {
        struct backoff backoff = {0};

        ck_assert_uint_ge(backoff_longest(&backoff), BACKOFF_LONGEST / 2);
        ck_assert_uint_ge(backoff_next(&backoff), BACKOFF_LONGEST / 2);
        backoff_reset(&backoff);
        ck_assert_uint_eq(backoff.pause_usec, 0);
        ck_assert_uint_le(backoff_next(&backoff), BACKOFF_FIRST);
}
END_TEST

START_TEST(hosts_do_not_come_back_together) {
        struct backoff first = {0};
        uint64_t pause_usec = backoff_longest(&first);
        unsigned same = 0;

        for (int i = 0; i < 100; i++) {
                struct backoff other = {0};

                same += backoff_longest(&other) == pause_usec;
        }
        ck_assert_uint_lt(same, 100);
}
END_TEST

SUITE_MAIN("backoff", pauses_grow_to_the_longest, at_once_and_anew, hosts_do_not_come_back_together)
