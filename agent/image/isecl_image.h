/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The image file of Intel SecL's workload policy manager: one AES-256-GCM message over the whole disk.
 *
 *   offset  bytes  field
 *        0     12  "ISecL-VMC", zero padded
 *       12      4  where the ciphertext begins, little endian: 44
 *       16      4  "V1", zero padded
 *       20     12  GCM nonce
 *       32     12  "GCM-256", zero padded
 *       44      n  ciphertext
 *     44+n     16  GCM tag
 *
 * There is no associated data: nothing in front of the ciphertext is authenticated, so all of it is
 * checked against what a writer can have meant.  What the file holds is not known before the tag has been
 * verified (image/isecl_convert.h).
 *
 * The identity is what a conversion of the image is kept under.  It stands for header, tag and size, so a
 * file with other content or another nonce has another one.
 *
 * Threads: pure but for the reading.
 * Failure: WLA_E_INPUT naming the field, WLA_E_UNSUPPORTED for a version or an algorithm that does not
 *          exist, WLA_E_SYSTEM.
 * Source:  intel-secl/lib, vml; NIST SP 800-38D section 5.2.1.1 for the largest message.
 */

#include <stdint.h>

#include "base/aead.h"
#include "base/uuid.h"
#include "wlagent/error.h"

#define ISECL_HEADER_SIZE 44u
#define ISECL_PLAIN_MAX   ((UINT64_C(1) << 36) - 32)

struct isecl_image {
        struct uuid identity;
        uint64_t data_offset; /* of the ciphertext, bytes */
        uint64_t size;        /* of the ciphertext and of the plaintext, bytes: not 0 */
        uint8_t nonce[AES256_GCM_NONCE];
        uint8_t tag[AES256_GCM_TAG];
};

/* Whether a file that begins with these bytes claims to be such an image. */
bool isecl_image_claimed(const uint8_t *head, size_t size);

/* The one header that writers make. */
void isecl_image_header(const uint8_t nonce[AES256_GCM_NONCE], uint8_t ret[ISECL_HEADER_SIZE]);

/* header and tag as they stand in a file of file_size bytes. */
int isecl_image_check(const uint8_t header[ISECL_HEADER_SIZE], const uint8_t tag[AES256_GCM_TAG],
                      uint64_t file_size, struct isecl_image *ret,
                      struct wla_error *err) _must_check_;

/* Reads both from fd. */
int isecl_image_read(int fd, struct isecl_image *ret, struct wla_error *err) _must_check_;
