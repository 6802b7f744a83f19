/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The seal of an image: a keyed code of all its ciphertext, made while it is encrypted and checked by
 * 'wlagent image verify'.
 *
 * The ciphertext is cut into pieces of IMAGE_PIECE_SIZE.  Each piece has a tag: AES-256-GMAC under a key
 * derived from the volume key, the piece's number as nonce.  HMAC-SHA256 of number and tag, under a second
 * derived key, are added up by exclusive or (as XOR-MACs are: Bellare, Guerin, Rogaway, CRYPTO '95), so
 * pieces may be done in any order and nothing but the sum is kept.  The seal is the HMAC of size and sum.
 * A volume key encrypts one image once, so no nonce has two messages.
 *
 * Ownership: an accumulator belongs to one thread; OpenSSL's copies of the keys are wiped when it ends.
 * Failure:   WLA_E_SYSTEM when OpenSSL refuses, WLA_E_BUSY without memory.
 */

#include <stdint.h>

#include "image/volume_key.h"

#define IMAGE_PIECE_SIZE (1024u * 1024u)

struct seal_sum {
        uint8_t bytes[IMAGE_SEAL_SIZE];
};

struct seal_accumulator;

int seal_accumulator_new(const struct wla_secret *volume_key, const struct uuid *header,
                         struct seal_accumulator **ret, struct wla_error *err) _must_check_;
struct seal_accumulator *seal_accumulator_free(struct seal_accumulator *accumulator);

/* One piece, in as many parts as the caller likes: one whose bytes are in the cache costs least. */
int seal_begin_piece(struct seal_accumulator *accumulator, uint64_t number,
                     struct wla_error *err) _must_check_;
int seal_add_part(struct seal_accumulator *accumulator, const uint8_t *part, size_t size,
                  struct wla_error *err) _must_check_;
int seal_end_piece(struct seal_accumulator *accumulator, struct wla_error *err) _must_check_;

/* Adds what this one has seen to sum. */
void seal_add_to(const struct seal_accumulator *accumulator, struct seal_sum *sum);

int seal_finish(const struct wla_secret *volume_key, const struct uuid *header, uint64_t size,
                const struct seal_sum *sum, uint8_t ret[IMAGE_SEAL_SIZE],
                struct wla_error *err) _must_check_;
