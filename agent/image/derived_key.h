/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys derived from a volume key, one for each purpose: HKDF-SHA256 (RFC 5869) without salt, the info
 * names purpose and identity.
 *
 * Threads: any.  Failure: WLA_E_SYSTEM when OpenSSL refuses, WLA_E_BUSY without memory.
 */

#include <openssl/evp.h>

#include "base/secret.h"

int derived_key(const struct wla_secret *from, struct wla_bytes info, size_t size,
                struct wla_secret **ret, struct wla_error *err) _must_check_;

/* An HMAC-SHA256 under such a key, ready for data.  OpenSSL holds a copy of the key until the context
 * is freed, in ordinary memory, which it wipes then. */
int derived_mac(const struct wla_secret *from, struct wla_bytes info, EVP_MAC_CTX **ret,
                struct wla_error *err) _must_check_;

static inline void derived_mac_freep(EVP_MAC_CTX **mac) {
        EVP_MAC_CTX_free(*mac);
}

#define _cleanup_mac_ __attribute__((cleanup(derived_mac_freep)))
