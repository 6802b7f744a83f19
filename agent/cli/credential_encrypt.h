/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Encryption of a credential by systemd-creds(1), for the system it runs on.
 *
 * Threads: one.
 * Failure: WLA_E_NOT_FOUND there is no systemd-creds, and what filter_program.h gives.
 */

#include "base/buf.h"
#include "base/secret.h"

/* More than systemd-creds makes of the largest secret. */
#define CREDENTIAL_ENCRYPTED_MAX 16384u

/* Appends what /etc/credstore.encrypted/NAME shall hold. */
int credential_encrypt(const char *name, const struct wla_secret *secret, struct buf *ret,
                       struct wla_error *err) _must_check_;
