/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An ISecL-VMC image's plaintext, as a stream in constant memory.
 *
 * GCM tells only at the end whether any of it was genuine.  The sink is therefore given bytes that may be
 * anybody's: it keeps them encrypted and out of everybody's sight until isecl_decrypt() has returned 0,
 * and destroys them when it returns -1.
 *
 * Threads: one at a time.
 * Failure: WLA_E_DENIED when the tag does not match: another key, or an image that was changed;
 *          WLA_E_INPUT for a file that is no longer as long as it was; WLA_E_SYSTEM; what the sink says.
 */

#include "base/secret.h"
#include "image/isecl_image.h"

/* Bytes of every piece but the last: sectors of our own format, and with its length one 64 KiB block of
 * the secure heap. */
#define ISECL_PIECE (15u * 4096u)

struct isecl_sink {
        void *self;
        /* The pieces come in order.  plain always has ISECL_PIECE bytes, zeros behind size; the sink may
         * write over them. */
        int (*write)(void *self, struct wla_secret *plain, size_t size, uint64_t at,
                     struct wla_error *err);
        /* NULL, or told all bytes of the file, header and tag included, in their order. */
        int (*saw)(void *self, const uint8_t *bytes, size_t size, struct wla_error *err);
};

/* key: 32 bytes. */
int isecl_decrypt(int fd, const struct isecl_image *image, const struct wla_secret *key,
                  const struct isecl_sink *sink, struct wla_error *err) _must_check_;
