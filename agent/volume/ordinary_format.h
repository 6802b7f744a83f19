/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Makes and reads the header of an ordinary LUKS2 volume in front of its data.
 *
 * Ownership: none is taken.
 * Threads:   one at a time; libcryptsetup has global state.
 * Failure:   WLA_E_SYSTEM with libcryptsetup's own text; WLA_E_INPUT for what is no such header.
 * Source:    LUKS2 On-Disk Format Specification 1.1.1; libcryptsetup 2.6.
 */

#include "base/secret.h"
#include "image/luks2_header.h"

/* Into fd, with data offset and sector size of like, and a new UUID.  The passphrase is a random key: its
 * derivation is the cheapest that there is. */
int ordinary_format(int fd, const struct luks2_header *like, const struct wla_secret *volume_key,
                    const struct wla_secret *passphrase, struct wla_error *err) _must_check_;

/* Of the file's own bytes; WLA_E_INPUT unless LUKS2_ORDINARY. */
int ordinary_format_read(int fd, struct luks2_header *ret, struct wla_error *err) _must_check_;
