/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A disk as an ISecL-VMC image (image/isecl_image.h), in one pass and in constant memory: what Intel SecL's
 * agent and this one read.
 *
 * Threads: one.
 * Failure: WLA_E_INPUT for a disk above what a GCM message can have, and as the source; WLA_E_SYSTEM when
 *          the disk is full.  What is in the file then is of no use.
 */

#include "base/secret.h"
#include "image/disk_source.h"
#include "image/image_sweep.h"
#include "image/isecl_image.h"
#include "image/ordered_digest.h"

struct isecl_encryption {
        const struct disk_source *plaintext; /* taken as it is: usually a qcow2 */
        const struct wla_secret *key;        /* 32 bytes */
        uint8_t nonce[AES256_GCM_NONCE];     /* never a second time under this key */
        int fd;                              /* an empty file, to write to */
        const struct image_progress *progress;
};

/* At random. */
int isecl_nonce_make(uint8_t ret[AES256_GCM_NONCE], struct wla_error *err) _must_check_;

/* Before anything is done for a disk of that size. */
int isecl_size_check(uint64_t size, struct wla_error *err) _must_check_;

/* ret_digest: SHA-384 of the whole file. */
int isecl_encrypt(const struct isecl_encryption *what, uint8_t ret_digest[SHA384_SIZE],
                  struct wla_error *err) _must_check_;
