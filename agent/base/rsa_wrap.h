/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An owner's side of the binding key: wrap a key so that only one TPM opens it.
 *
 * RSAES-OAEP (RFC 8017 section 7.1) with SHA-256, MGF1-SHA-256 and the label "TPM2" followed by a zero
 * byte, which the TPM counts as part of the label (TPM 2.0 Library, Part 1, annex B.4).
 * Input 1..190 bytes, output 256 bytes, big endian.
 *
 * Threads: any.  Failure: WLA_E_INPUT when the PEM is not a 2048-bit RSA public key.
 */

#include "base/buf.h"
#include "base/secret.h"

#define RSA_WRAP_LABEL       "TPM2"
#define RSA_WRAP_LABEL_SIZE  5u /* with the zero byte */
#define RSA_WRAPPED_SIZE     256u
#define RSA_WRAP_PLAIN_MAX   190u
#define KEY_FINGERPRINT_SIZE 65u /* 64 lower-case hex digits and a zero byte */

/* pem: SubjectPublicKeyInfo ("PUBLIC KEY"); wrapped: RSA_WRAPPED_SIZE bytes are appended. */
int rsa_wrap(const char *pem, size_t pem_size, const struct wla_secret *key, struct buf *wrapped,
             struct wla_error *err) _must_check_;

/* SHA-256 of the DER SubjectPublicKeyInfo: how key files name the binding key they are for. */
int rsa_public_fingerprint(const char *pem, size_t pem_size, char ret[KEY_FINGERPRINT_SIZE],
                           struct wla_error *err) _must_check_;

/* The same for a 2048-bit key with exponent 65537, from its modulus: 256 bytes, big endian. */
int rsa_modulus_fingerprint(const uint8_t modulus[RSA_WRAPPED_SIZE], char ret[KEY_FINGERPRINT_SIZE],
                            struct wla_error *err) _must_check_;

/* PEM of a 2048-bit RSA key with exponent 65537; modulus is 256 bytes, big endian. */
int rsa_public_pem(const uint8_t modulus[RSA_WRAPPED_SIZE], struct buf *pem,
                   struct wla_error *err) _must_check_;
