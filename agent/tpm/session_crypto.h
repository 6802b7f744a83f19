/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What TPM and agent both compute in a session (session.h): its key, the HMACs of its commands and answers, and the
 * encryption of their first parameters, all with SHA-256 and AES-128-CFB.
 *
 * Threads: any.
 * Failure: -1 when OpenSSL has no memory; there is no other.
 * Source:  TPM 2.0 Library, Part 1, sections 11.4.10 (KDFa), 19.6 (sessions), 21.3 (parameter encryption).
 */

#include <stdbool.h>
#include <tss2/tss2_tpm2_types.h>

#include "base/secret.h"
#include "wlagent/error.h"

#define SESSION_DIGEST_SIZE TPM2_SHA256_DIGEST_SIZE

/* Of a command the agent's is the newer one, of an answer the TPM's. */
struct session_nonces {
        const uint8_t *newer; /* both SESSION_DIGEST_SIZE */
        const uint8_t *older;
};

/* ret has SESSION_DIGEST_SIZE bytes and may be a secret. */
int session_derive(struct wla_bytes key, const char *label, struct session_nonces nonces,
                   uint8_t ret[SESSION_DIGEST_SIZE]) _must_check_;

/* parameters: the digest of the command's or the answer's. */
int session_authenticate(struct wla_bytes key, const uint8_t parameters[SESSION_DIGEST_SIZE],
                         struct session_nonces nonces, TPMA_SESSION attributes,
                         uint8_t ret[SESSION_DIGEST_SIZE]) _must_check_;

/* Encrypts, or decrypts, from.size bytes to to. */
int session_cipher_parameter(struct wla_bytes key, struct session_nonces nonces, bool encrypt,
                             struct wla_bytes from, uint8_t *to) _must_check_;
