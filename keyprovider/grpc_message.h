/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The texts and framing of gRPC over HTTP/2, without HTTP/2.
 *
 * Wire: gRPC PROTOCOL-HTTP2.md; a message is one byte (1: compressed), four bytes of length in network
 * order, and the message.
 *
 * Pure functions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRPC_PREFIX_SIZE 5u

struct grpc_prefix {
        bool compressed;
        uint32_t size;
};

struct grpc_prefix grpc_prefix_read(const uint8_t bytes[GRPC_PREFIX_SIZE]);
void grpc_prefix_write(uint32_t size, uint8_t ret[GRPC_PREFIX_SIZE]);

/* "application/grpc", alone or followed by '+' or ';' and anything. */
bool grpc_content_type_valid(const char *value, size_t size);

/* The header grpc-timeout: at most eight digits and one of H M S m u n.  False when malformed. */
bool grpc_timeout_parse(const char *value, size_t size, uint64_t *ret_usec);

/* Writes text as grpc-message wants it: bytes outside 0x20..0x7e and '%' as %XX.  Cut where it does
 * not fit, never inside an escape; always terminated.  Returns the length. */
size_t grpc_percent_encode(const char *text, char *to, size_t size);
