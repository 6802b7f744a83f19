/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* AES-256 as ocicrypt packets use it, and GCM that authenticates more than it encrypts.
 *
 * GCM (NIST SP 800-38D): 32-byte key, 12-byte nonce, output = ciphertext || 16-byte tag.
 * CTR (NIST SP 800-38A): 32-byte key, 16-byte initial counter block, big endian; no integrity.
 *
 * Threads: any.  Failure: WLA_E_INPUT for wrong lengths, WLA_E_DENIED when the tag does not match.
 */

#include "base/buf.h"
#include "base/secret.h"

#define AES256_KEY_SIZE  32u
#define AES256_GCM_NONCE 12u
#define AES256_GCM_TAG   16u
#define AES256_CTR_BLOCK 16u

int aes256_gcm_seal(const struct wla_secret *key, struct wla_bytes nonce, struct wla_bytes plain,
                    struct buf *sealed, struct wla_error *err) _must_check_;

int aes256_gcm_open(const struct wla_secret *key, struct wla_bytes nonce, struct wla_bytes sealed,
                    struct wla_secret **ret_plain, struct wla_error *err) _must_check_;

/* The same with additional authenticated data, which is part of neither text. */
int aes256_gcm_seal_bound(const struct wla_secret *key, struct wla_bytes nonce,
                          struct wla_bytes additional, struct wla_bytes plain, struct buf *sealed,
                          struct wla_error *err) _must_check_;

int aes256_gcm_open_bound(const struct wla_secret *key, struct wla_bytes nonce,
                          struct wla_bytes additional, struct wla_bytes sealed,
                          struct wla_secret **ret_plain, struct wla_error *err) _must_check_;

int aes256_ctr_open(const struct wla_secret *key, struct wla_bytes counter,
                    struct wla_bytes ciphertext, struct wla_secret **ret_plain,
                    struct wla_error *err) _must_check_;
