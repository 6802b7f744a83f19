/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How long a JWT (RFC 7519) lasts by its own word: the claims exp and iat, compact serialisation.
 * The signature is not looked at: who is lied to here asks for a new token at another time, no more.
 *
 * Pure.
 */

#include <stddef.h>
#include <stdint.h>

/* Microseconds from its issue to its expiry, so that the clocks need not agree; 0 when it does not say, or
 * says what makes no sense. */
uint64_t token_life_usec(const char *token, size_t size);
