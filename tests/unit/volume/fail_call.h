/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Fails the Nth call that a session makes of the kernel, OpenSSL or libcryptsetup, for every N: as
 * fail_allocation.h does with allocations.  The linker leads the calls here: fail_call_wraps in meson.build.
 *
 * Threads: one.
 */

#include <stdbool.h>
#include <stddef.h>

bool fail_call_arm(size_t n);
void fail_call_disarm(void);

/* The call that was failed since the last arm; NULL when none was. */
const char *fail_call_hit(void);

/* For a call that a test stands in for: whether it is to fail. */
bool fail_call(const char *name);

/* What a test itself does meanwhile does not fail. */
void fail_call_pause(bool pause);

/* All calls of that name from now on; NULL: none any more. */
void fail_call_named(const char *name);

/* So are they cut short, of pread64 and write. */
void fail_call_shorten(const char *name, size_t size);

/* The next pread64 is interrupted. */
void fail_call_interrupt(void);
