/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A copy of a LUKS2 header that nobody can change any more: a sealed memfd, mapped read-only.
 *
 * The original is read once.  What is checked, what libcryptsetup reads and what the other side of the
 * socket sees are these bytes.
 *
 * Ownership: sealed_header_clear() releases it and is safe on SEALED_HEADER_NONE.
 * Threads:   one at a time.  Failure: WLA_E_INPUT for what is no regular file or has no size of a
 *            header, WLA_E_SYSTEM.
 */

#include <stdint.h>

#include "image/luks2_header.h"

struct sealed_header {
        int fd;
        const uint8_t *bytes;
        size_t size;
};

#define SEALED_HEADER_NONE ((struct sealed_header){.fd = -1})

/* Takes at most LUKS2_HEADER_MAX bytes from the head of fd.  With whole, a longer file is refused. */
int sealed_header_copy(int fd, bool whole, struct sealed_header *ret,
                       struct wla_error *err) _must_check_;

/* From memory. */
int sealed_header_make(const void *bytes, size_t size, struct sealed_header *ret,
                       struct wla_error *err) _must_check_;

void sealed_header_clear(struct sealed_header *header);

#define _cleanup_sealed_header_ __attribute__((cleanup(sealed_header_clear)))
