/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who has signed a flavor, and the signing of one.
 *
 * RSASSA-PKCS1-v1_5 with SHA-384 (RFC 8017 section 8.2) over flavor_format().  A signer is a certificate in
 * one of the files of a directory, which may bring the certificates between it and its root along; the
 * roots are those of another directory and no others, not the system's.  A signer has to be
 *
 *   valid now, with a chain to a root (RFC 5280 section 6) of keys and digests with 112 bits of security
 *   RSA of 2048 bits or more
 *   no CA, with digitalSignature or nonRepudiation if it says what its key is for (section 4.2.1.3), and
 *   with codeSigning or any purpose if it says so in its extended usage (section 4.2.1.12)
 *
 * Ownership: nothing is kept: the files are read each time, so a signer that is taken away is trusted no more.
 * Threads:   any.
 * Failure:   WLA_E_DENIED with the reason when nobody who is trusted has signed it, _INPUT for files that hold
 *            no certificates and keys that cannot sign, _NOT_FOUND for a directory without files, _SYSTEM.
 * Source:    Intel SecL 4.2, lib common, crypt: VerifySignatureWithCert; NIST SP 800-57 part 1 for the bits.
 */

#include "base/secret.h"
#include "flavor/flavor.h"

#define FLAVOR_KEY_BITS_MIN 2048

struct flavor_trust {
        const char *signers; /* directories, by path */
        const char *roots;
};

int flavor_verify(const struct flavor *flavor, const struct flavor_signature *signature,
                  const struct flavor_trust *trust, struct wla_error *err) _must_check_;

/* key_pem: a private key in PEM without a passphrase, of RSA: PKCS#8 or PKCS#1. */
int flavor_sign(const struct flavor *flavor, const struct wla_secret *key_pem,
                struct flavor_signature *ret, struct wla_error *err) _must_check_;
