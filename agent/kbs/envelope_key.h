/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The key pair to which KBS wraps a key for its owner: RSA-3072, RSAES-OAEP (RFC 8017 section 7.1) with
 * SHA-384, MGF1-SHA-384 and an empty label.
 *
 * Ownership: the private half is in locked memory.  What OpenSSL makes of it while it decrypts is in
 *            ordinary memory of a process that cannot be dumped.
 * Threads:   one at a time.
 * Failure:   WLA_E_DENIED when an envelope does not open, WLA_E_INPUT for a key of another kind or size,
 *            WLA_E_SYSTEM, WLA_E_BUSY.
 * Source:    Intel SecL 4.2, kbs (transfer of a key to its owner) and wpm.
 */

#include "base/buf.h"
#include "base/secret.h"

#define ENVELOPE_BITS    3072u
#define ENVELOPE_SIZE    (ENVELOPE_BITS / 8)
#define ENVELOPE_PEM_MAX 2048u

struct envelope_key;

/* A new pair; takes a second. */
int envelope_key_generate(struct envelope_key **ret, struct wla_error *err) _must_check_;

/* The private half as DER: RSAPrivateKey (RFC 8017 appendix A.1.2), or that in PrivateKeyInfo (RFC 5208). */
int envelope_key_parse(const struct wla_secret *der, struct envelope_key **ret,
                       struct wla_error *err) _must_check_;

struct envelope_key *envelope_key_free(struct envelope_key *key);

/* Appends the public half: SubjectPublicKeyInfo, PEM. */
int envelope_key_public(const struct envelope_key *key, struct buf *pem,
                        struct wla_error *err) _must_check_;

/* What is inside must have exactly size bytes. */
int envelope_key_open(const struct envelope_key *key, const uint8_t wrapped[ENVELOPE_SIZE],
                      size_t size, struct wla_secret **ret, struct wla_error *err) _must_check_;
