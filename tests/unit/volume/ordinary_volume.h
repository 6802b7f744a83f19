/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Ordinary LUKS2 volumes in files, made by libcryptsetup. */

#include "base/secret.h"
#include "image/luks2_header.h"

#define ORDINARY_DATA_OFFSET (16u * 1024u * 1024u)

struct ordinary_volume {
        uint32_t sector_size;   /* 0: 512 */
        size_t volume_key_size; /* 0: 64 */
        bool empty_passphrase;  /* keyslot 0 */
        const char *passphrase; /* keyslot 1, of 32 bytes; NULL: none */
        uint32_t argon2_memory; /* KiB; 0: pbkdf2 */
        uint32_t iterations;    /* of pbkdf2; 0: 1000 */
        size_t data_size;       /* bytes of plaintext */
};

#define ORDINARY_KEY "0123456789abcdef0123456789abcdef"

/* Makes the volume in fd, which is empty.  Byte i of the plaintext is ordinary_byte(i). */
void ordinary_volume_make(int fd, const struct ordinary_volume *volume);
uint8_t ordinary_byte(uint64_t i);

/* The first 32 bytes of text. */
struct wla_secret *ordinary_secret(const char *text);

/* The header of fd after the strict check. */
struct luks2_header ordinary_header(int fd);
