/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What kind of disk a decrypted image holds, judged by its first bytes: qcow2 when it says so, else raw.
 *
 * A qcow2 is accepted only when it stands for itself: no backing file, no external data file, no
 * encryption, no feature that is not known.  Whoever made the image could otherwise let QEMU open a file
 * of the host.
 *
 * Threads: pure.
 * Failure: WLA_E_INPUT for a qcow2 that contradicts itself, WLA_E_UNSUPPORTED for one that is refused.
 * Source:  QEMU, docs/interop/qcow2.
 */

#include <stddef.h>
#include <stdint.h>

#include "image/token.h"

/* Bytes of the disk's begin that are looked at, or all of a smaller one. */
#define DISK_CONTENT_HEAD 112u

struct disk_content {
        enum image_content content;
        uint64_t virtual_size; /* of the disk, bytes: a multiple of 512 */
};

/* size: of the whole plaintext, not 0. */
int disk_content_check(const uint8_t *head, size_t head_size, uint64_t size,
                       struct disk_content *ret, struct wla_error *err) _must_check_;
