/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* libcryptsetup on a sealed header that has passed the check of image/luks2_header.h.
 *
 * Keys are volume keys.  libcryptsetup hands one to the kernel through the thread keyring of the caller and
 * takes it out again; crypt_volume_activate() makes sure of that.  Files that are opened while a key is in
 * there keep the keyring alive, so the loop device is made before.  Nothing else of a key stays in it.
 *
 * Ownership: crypt_volume_free().  The header has to outlive it.
 * Threads:   one at a time, in a process without others; libcryptsetup has global state.
 * Failure:   WLA_E_DENIED for a key that does not open the header, WLA_E_BUSY when a device has that name
 *            already or is just going away, WLA_E_SYSTEM without dm-crypt, or with libcryptsetup's own text.
 * Source:    libcryptsetup 2.6.
 */

#include "base/secret.h"
#include "volume/sealed_header.h"

struct crypt_volume;

int crypt_volume_open(const struct sealed_header *sealed, const struct luks2_header *header,
                      struct crypt_volume **ret, struct wla_error *err) _must_check_;

/* By the header's digest. */
int crypt_volume_check_key(struct crypt_volume *volume, const struct wla_secret *volume_key,
                           struct wla_error *err) _must_check_;

struct crypt_activation {
        const char *name;
        const char *data; /* path of the device */
        bool writable;
        bool discards;
};

/* May be called again when it has failed. */
int crypt_volume_activate(struct crypt_volume *volume, const struct wla_secret *volume_key,
                          const struct crypt_activation *activation,
                          struct wla_error *err) _must_check_;

/* Accepts and returns NULL. */
struct crypt_volume *crypt_volume_free(struct crypt_volume *volume);

static inline void crypt_volume_freep(struct crypt_volume **volume) {
        *volume = crypt_volume_free(*volume);
}

#define _cleanup_crypt_volume_ __attribute__((cleanup(crypt_volume_freep)))
