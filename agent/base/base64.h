/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Standard base64 with padding (RFC 4648 section 4), in time that does not depend on the content.
 *
 * Pure functions; sizes in bytes.  Decoding is strict: no white space, padding required, unused
 * bits zero.
 */

#include <stdint.h>

#include "base/buf.h"
#include "wlagent/error.h"

static inline size_t base64_encoded_size(size_t size) {
        return (size + 2) / 3 * 4;
}

/* Writes exactly base64_encoded_size(size) characters, without a terminating zero. */
void base64_encode(const uint8_t *data, size_t size, char *to);
int base64_append(struct buf *to, const uint8_t *data, size_t size,
                  struct wla_error *err) _must_check_;

/* Appends the decoded bytes.  WLA_E_INPUT when text is not strict base64. */
int base64_decode(const char *text, size_t size, struct buf *to,
                  struct wla_error *err) _must_check_;
