/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The volume key of an ordinary LUKS2 header: the key that the key id names is the passphrase of one of
 * its keyslots, byte for byte.
 *
 * A header that opens with the empty passphrase protects nothing: anybody who can read the file can read
 * the volume.  Intel SecL's agent made its VM volumes like this.  So every header is tried with it first,
 * and refused when it opens.
 *
 * The header is the sealed copy (volume/sealed_header.h); libcryptsetup sees nothing else.
 *
 * The process has no secure heap of OpenSSL, which would be too small for Argon2: its secrets are in pages of
 * their own, wla_secret_pages_init().
 *
 * Threads: one at a time; libcryptsetup has global state.
 * Failure: WLA_E_DENIED another key, or exposed; WLA_E_UNSUPPORTED a key derivation that would hold up the
 *          host; WLA_E_BUSY without the memory that Argon2 needs; WLA_E_SYSTEM with libcryptsetup's text.
 */

#include "base/secret.h"
#include "image/luks2_header.h"

/* header_fd and header: a LUKS2_ORDINARY header that luks2_header_check() has passed. */
int ordinary_key_get(int header_fd, const struct luks2_header *header,
                     const struct wla_secret *passphrase, struct wla_secret **ret_volume_key,
                     struct wla_error *err) _must_check_;

enum ordinary_key_outcome {
        ORDINARY_KEY_OPENED,
        ORDINARY_KEY_REFUSED,
};

/* Tries one passphrase on every keyslot, whatever that costs; NULL is the empty one.  *ret_volume_key is
 * set when the outcome is ORDINARY_KEY_OPENED. */
int ordinary_key_try(int header_fd, const struct luks2_header *header,
                     const struct wla_secret *passphrase, enum ordinary_key_outcome *ret,
                     struct wla_secret **ret_volume_key, struct wla_error *err) _must_check_;

/* Whether a launch can wait for ordinary_key_get(). */
int ordinary_key_check_cost(const struct luks2_header *header, struct wla_error *err) _must_check_;
