/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What systemd says of a unit, for reports.
 *
 * Threads: one.
 * Failure: "" where systemd does not run, does not answer in 5 seconds, or knows no such property.  Of a unit
 *          that it does not know it tells what a new one would have.
 */

#include <stddef.h>
#include <stdint.h>

/* As systemctl(1) shows it, times as in "Mon 2026-11-23 05:58:42.123456 UTC".  It is cut at size. */
void unit_property(const char *unit, const char *property, char *to, size_t size);

/* A time since the epoch; 0 where it is told of none. */
uint64_t unit_time_usec(const char *unit, const char *property);
