/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Copies the data of an aes-xts-plain64 volume under another volume key, in constant memory.
 *
 * Holes of the file stay holes: nobody has written there, and what reads from them is noise under either
 * key.  Plaintext exists a piece at a time in locked memory.
 *
 * Threads: one at a time.  Failure: WLA_E_INPUT when the file becomes shorter, WLA_E_SYSTEM.
 */

#include "base/secret.h"

struct recrypt_plan {
        int from_fd;
        int to_fd;
        const struct wla_secret *from_key; /* 64 or 32 bytes */
        const struct wla_secret *to_key;   /* 64 bytes */
        uint32_t sector_size;              /* of both */
        uint64_t offset; /* of the data in both files, bytes: a multiple of 4096 */
        uint64_t size;   /* of the data, bytes: a multiple of the sector size */
};

int recrypt(const struct recrypt_plan *plan, struct wla_error *err) _must_check_;
