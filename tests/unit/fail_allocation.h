/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Fails the Nth allocation of the code under test, for every N.
 *
 *   for (size_t n = 1; fail_allocation_arm(n); n++) {
 *           int outcome = thing_under_test();
 *
 *           fail_allocation_disarm();
 *           ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
 *   }
 *
 * Check's own assertions allocate: none between arm and disarm.
 *
 * fail_allocation_arm() returns false once a whole round has passed without reaching the Nth
 * allocation: then every site has failed once.  Calls from shared libraries are not counted.
 * Threads: allocations of the arming thread only.
 */

#include <stdbool.h>
#include <stddef.h>

bool fail_allocation_arm(size_t n);
void fail_allocation_disarm(void);

/* What a test itself does between arm and disarm, in place of what is called: not counted. */
void fail_allocation_pause(bool pause);

/* Whether an allocation has been failed since the last arm. */
bool fail_allocation_hit(void);
