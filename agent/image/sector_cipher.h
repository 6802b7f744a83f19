/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* AES-XTS over a disk as dm-crypt's aes-xts-plain64 does it, without dm-crypt.
 *
 * Each sector is one XTS message (IEEE 1619); its tweak is the number of its first 512 bytes, 64 bits
 * little endian, whatever the sector size.
 *
 * Ownership: the caller's; the key may go when the cipher has been made.  OpenSSL holds a copy in ordinary
 *            memory, which it wipes when the cipher is freed.
 * Threads:   one at a time.
 * Failure:   WLA_E_INPUT for sizes that are none, WLA_E_BUSY without memory, WLA_E_SYSTEM.
 * Source:    the kernel's dm-crypt.rst; sector_size without iv_large_sectors.
 */

#include "base/secret.h"

enum sector_direction {
        SECTOR_ENCRYPT,
        SECTOR_DECRYPT,
};

struct sector_cipher;

/* key: 64 bytes for AES-256, 32 for AES-128, two different halves.  sector_size: 512 to 4096, a power of
 * two. */
int sector_cipher_new(const struct wla_secret *key, uint32_t sector_size,
                      enum sector_direction direction, struct sector_cipher **ret,
                      struct wla_error *err) _must_check_;
struct sector_cipher *sector_cipher_free(struct sector_cipher *cipher);

/* In place.  at: of data in the disk, bytes; at and size are multiples of the sector size. */
int sector_cipher_run(struct sector_cipher *cipher, uint64_t at, uint8_t *data, size_t size,
                      struct wla_error *err) _must_check_;

static inline void sector_cipher_freep(struct sector_cipher **cipher) {
        *cipher = sector_cipher_free(*cipher);
}

#define _cleanup_sector_cipher_ __attribute__((cleanup(sector_cipher_freep)))
