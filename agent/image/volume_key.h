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

/* What an image's wrapping authenticates: a line each for the prefix, header UUID, key id, content, size,
 * virtual size, and "sealed" or "open".  The prefix keeps it apart from whatever else a key-encryption
 * key is used for. */
#define IMAGE_IDENTITY_PREFIX "wlagent-image 1\n"
#define IMAGE_IDENTITY_MAX    1024u
int image_identity_write(const struct uuid *header, const struct image_token *token, struct buf *to,
                         struct wla_error *err) _must_check_;

/* AES-256-GCM with a random nonce.  kek: 32 bytes. */
int volume_key_wrap(const struct wla_secret *kek, struct wla_bytes identity,
                    const struct wla_secret *volume_key, struct wrapped_volume_key *ret,
                    struct wla_error *err) _must_check_;
int volume_key_unwrap(const struct wla_secret *kek, struct wla_bytes identity,
                      const struct wrapped_volume_key *wrapped, struct wla_secret **ret,
                      struct wla_error *err) _must_check_;

/* Key id, content, sizes and sealed must be final; fills token->wrapped. */
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
