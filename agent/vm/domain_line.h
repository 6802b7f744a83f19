/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A line of our metadata element (vm/domain.h), attribute by attribute.  Private to domain_xml.c.
 *
 * Threads: pure.  Failure: WLA_E_INPUT naming the attribute, never its value.
 */

#include "vm/domain.h"

enum domain_line {
        DOMAIN_LINE_DISK,
        DOMAIN_LINE_SECRET,
};

/* *seen: what has been taken of this line; 0 at its beginning. */
int domain_line_take(enum domain_line kind, struct protected_disk *line, const char *name,
                     const char *value, unsigned *seen, struct wla_error *err) _must_check_;

/* Whether it says all that it has to. */
int domain_line_check(enum domain_line kind, unsigned seen, struct wla_error *err) _must_check_;

int domain_line_target(const char *value, char to[DISK_TARGET_SIZE],
                       struct wla_error *err) _must_check_;
