/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The value of a secret of libvirt, for disks that libvirt itself encrypts.
 *
 * Only secrets that are ephemeral, which libvirt never writes to a disk, and private, whose value it gives
 * to nobody but itself, get a value.  One that does not exist is defined, with a description that tells
 * whose it is, and is undefined again; one that somebody else has defined stays, with a random value.
 *
 * Threads: one.
 * Failure: WLA_E_DENIED a secret of another kind, WLA_E_INPUT a key that QEMU would not take, and as
 *          connection.h.
 * Source:  libvirt 9.0, libvirt-secret.h, formatsecret; QEMU 7.2, crypto/block-luks.c: the passphrase is
 *          UTF-8.
 */

#include "base/secret.h"
#include "base/uuid.h"
#include "vm_admin/connection.h"

/* Whether that one could get a value: it is ephemeral and private, or there is none.  Not every driver knows
 * secrets: what it says of them then is no fault. */
int libvirt_secret_check(virConnectPtr connection, const struct uuid *secret,
                         struct wla_error *err) _must_check_;

int libvirt_secret_set(const struct uuid *secret, const struct wla_secret *key,
                       struct wla_error *err) _must_check_;

/* What is no secret of these kinds is left alone. */
int libvirt_secret_clear(const struct uuid *secret, struct wla_error *err) _must_check_;
