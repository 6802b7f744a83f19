/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ISecL-VMC images made here, by OpenSSL and the format's description. */

#include <stddef.h>
#include <stdint.h>

#include "base/secret.h"
#include "image/isecl_image.h"

/* The vector: key 00..1f, nonce 10..1b, the plaintext "QFI\xfb" and twelve zeros. */
extern const uint8_t isecl_vector[76];

struct wla_secret *isecl_key(uint8_t first);

/* A file without a name that holds the bytes. */
int isecl_file(const void *bytes, size_t size);

/* Byte i of the test plaintext. */
uint8_t isecl_plain_byte(uint64_t i);

/* An image of size such bytes, with head at its begin, under isecl_key(first).  A malloc block of
 * ISECL_HEADER_SIZE + size + AES256_GCM_TAG bytes. */
uint8_t *isecl_make(uint8_t first, const void *head, size_t head_size, size_t size);
