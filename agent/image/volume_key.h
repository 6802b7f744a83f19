/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The volume key of an image or of a layer: how it is wrapped, and what proves that header and
 * ciphertext belong together.
 *
 * An image's volume key is random and wrapped under the key-encryption key that its key id names.  A
 * layer's volume key is random too, and wrapped under a key derived from the image's volume key
 * (HKDF-SHA256, RFC 5869), so whoever opens the layer was given the image's key for this start.  Each
 * wrapping authenticates the identity of what it opens: a token moved to another header, image, VM or
 * disk does not open.
 *
 * The probe is HMAC-SHA256 under a derived key over header UUID, size, and the first and last
 * IMAGE_PROBE_SPAN bytes of the ciphertext.  It tells in constant time that this header is not this
 * file's.  It holds for images that are only read.
 *
 * Threads: pure but for the reading.
 * Failure: WLA_E_DENIED when a wrapping does not open or a probe does not match, WLA_E_INPUT,
 *          WLA_E_SYSTEM.
 */

#include "base/secret.h"
#include "image/luks2_header.h"

#define IMAGE_PROBE_SPAN 65536u

/* 64 random bytes whose halves differ. */
int volume_key_generate(struct wla_secret **ret, struct wla_error *err) _must_check_;

/* kek: 32 bytes.  uuid, key id, content and sizes must be final; fills token->wrapped. */
int image_key_wrap(const struct wla_secret *kek, const struct uuid *header,
                   const struct wla_secret *volume_key, struct image_token *token,
                   struct wla_error *err) _must_check_;
int image_key_unwrap(const struct wla_secret *kek, const struct luks2_header *header,
                     struct wla_secret **ret, struct wla_error *err) _must_check_;

/* vm, target and image must be final; fills token->wrapped. */
int layer_key_wrap(const struct wla_secret *image_key, const struct wla_secret *layer_key,
                   struct layer_token *token, struct wla_error *err) _must_check_;
int layer_key_unwrap(const struct wla_secret *image_key, const struct layer_token *token,
                     struct wla_secret **ret, struct wla_error *err) _must_check_;

/* Reads head and tail of the ciphertext from fd. */
int image_probe(const struct wla_secret *volume_key, const struct uuid *header, int fd,
                uint64_t size, uint8_t ret[IMAGE_PROBE_SIZE], struct wla_error *err) _must_check_;

/* Compares in constant time. */
int image_probe_check(const struct wla_secret *volume_key, const struct luks2_header *header,
                      int fd, struct wla_error *err) _must_check_;
