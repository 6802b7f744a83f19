/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The three passes over an image: encrypt, verify, decrypt.  Each runs on several threads in constant
 * memory (image/image_sweep.h) and past the page cache where the file system can.
 *
 * Threads: one caller.
 * Failure: as the sources and ciphers; WLA_E_SYSTEM when the disk is full, WLA_E_DENIED when a seal does
 *          not match.
 */

#include "image/disk_source.h"
#include "image/image_sweep.h"
#include "image/ordered_digest.h"
#include "image/volume_key.h"

/* The ciphertext of so much plaintext: whole sectors. */
static inline uint64_t image_ciphertext_size(uint64_t plaintext_size) {
        return (plaintext_size + IMAGE_SECTOR_SIZE - 1) / IMAGE_SECTOR_SIZE * IMAGE_SECTOR_SIZE;
}

struct image_encryption {
        const struct disk_source *plaintext;
        const struct wla_secret *volume_key;
        struct uuid header;
        int fd;                        /* to write to, from offset 0 */
        struct ordered_digest *digest; /* gets the ciphertext; NULL: nobody wants it */
        const struct image_progress *progress;
};

/* token->size must be that of the ciphertext; fills probe and, when token->sealed, seal. */
int image_encrypt(const struct image_encryption *what, struct image_token *token,
                  struct wla_error *err) _must_check_;

struct image_check {
        const struct disk_source *ciphertext;
        const struct wla_secret *volume_key;
        const struct luks2_header *header; /* of a sealed image */
        const struct image_progress *progress;
};

int image_verify(const struct image_check *what, struct wla_error *err) _must_check_;

/* Writes the disk to fd; zeros become holes.  fd is empty, and has the disk's size afterwards. */
int image_write_sparse(const struct disk_source *disk, int fd,
                       const struct image_progress *progress, struct wla_error *err) _must_check_;
