/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The plaintext of an image's ciphertext, decrypted as it is read. */

#include "base/secret.h"
#include "image/disk_source.h"

/* Takes ciphertext, also on failure; its size must be a multiple of IMAGE_SECTOR_SIZE.  The key must
 * outlive the source. */
int cipher_source_open(struct disk_source *ciphertext, const struct wla_secret *volume_key,
                       struct disk_source *ret, struct wla_error *err) _must_check_;
