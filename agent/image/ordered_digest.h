/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SHA-384 of a file whose pieces come from several threads: each waits until all before its own are in.
 *
 * That ends because pieces are given out from front to back and every thread has one in hand.
 *
 * Ownership: the digest outlives all threads that add to it.
 * Threads:   ordered_digest_add() and _stop() from any; the others before and after all of them.
 * Failure:   WLA_E_SYSTEM when OpenSSL refuses, WLA_E_BUSY without memory; what was given to _stop().
 */

#include <stddef.h>
#include <stdint.h>

#include "wlagent/error.h"

#define SHA384_SIZE 48u

struct ordered_digest;

int ordered_digest_new(struct ordered_digest **ret, struct wla_error *err) _must_check_;
struct ordered_digest *ordered_digest_free(struct ordered_digest *digest);

/* number: 0 for the first piece. */
int ordered_digest_add(struct ordered_digest *digest, uint64_t number, const uint8_t *piece,
                       size_t size, struct wla_error *err) _must_check_;

/* A piece will not come: whoever waits for it fails for the same reason. */
void ordered_digest_stop(struct ordered_digest *digest, const struct wla_error *err);

/* Once. */
int ordered_digest_finish(struct ordered_digest *digest, uint8_t ret[SHA384_SIZE],
                          struct wla_error *err) _must_check_;
