/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Makes the detached LUKS2 header of an image or of a layer: no keyslots, one segment, a digest of the
 * volume key, one token.
 *
 * libcryptsetup writes it into a file in memory, so it needs neither root nor device-mapper, and what it
 * has written is checked (image/luks2_header.h) before it is handed out.
 *
 * The volume key: libcryptsetup makes copies in ordinary memory while it computes the digest, and wipes
 * them before it returns.  The header itself holds nothing secret.
 *
 * Threads: one at a time; libcryptsetup has global state.
 * Failure: WLA_E_SYSTEM with libcryptsetup's own text; WLA_E_INPUT when the result is not one that
 *          wlagent would open.
 * Source:  LUKS2 On-Disk Format Specification 1.1.1; libcryptsetup 2.6.
 */

#include "base/buf.h"
#include "base/secret.h"
#include "image/luks2_header.h"

/* Of what this file makes: two copies of 16 KiB and the smallest area for keyslots. */
#define IMAGE_HEADER_SIZE 36864u

struct header_content {
        struct uuid uuid;
        const struct wla_secret *volume_key; /* VOLUME_KEY_SIZE bytes */
        const struct buf *token;             /* image_token_write() or layer_token_write() */
};

/* WLA_E_DENIED when the digest in these bytes, which luks2_header_check() has passed, is of another volume
 * key: libcryptsetup would not open the image. */
int header_check_key(const struct buf *header, const struct wla_secret *volume_key,
                     struct wla_error *err) _must_check_;

/* Appends IMAGE_HEADER_SIZE bytes. */
int header_write(const struct header_content *content, struct buf *to,
                 struct wla_error *err) _must_check_;
