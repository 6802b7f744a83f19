/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A UUID (RFC 9562) in its one canonical form: 36 characters, lower case.
 *
 * Whatever came from outside is parsed into one and printed from it, so it can be part of a name.
 * Threads: pure.  Failure: WLA_E_INPUT.
 */

#include "wlagent/error.h"

#define UUID_TEXT_SIZE 37u /* with the terminating zero */

struct uuid {
        char text[UUID_TEXT_SIZE];
};

/* Exactly 36 characters, hex digits of either case with '-' at 8, 13, 18 and 23; not all zero. */
int uuid_parse(const char *text, size_t size, struct uuid *ret, struct wla_error *err) _must_check_;

/* Random, version 4. */
int uuid_generate(struct uuid *ret, struct wla_error *err) _must_check_;

/* Whether it is of version 4, which is what Intel SecL's services take. */
bool uuid_is_version4(const struct uuid *uuid);

bool uuid_equal(const struct uuid *a, const struct uuid *b);
