/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a LUKS2 header says, after a check that leaves nothing to interpretation.
 *
 * The bytes come from an image's owner, a registry or a disk and are hostile until this check has passed
 * them.  Only what wlagent opens is accepted: one crypt segment, aes-xts-plain64, no null cipher, no
 * re-encryption, no requirements, no member that is not known.  Both binary headers are checked with
 * their checksums and the same JSON.  wlagentd uses the result to find the key; wlagent-volumed makes the
 * same check on the same bytes, a sealed copy, before libcryptsetup sees them.
 *
 * Three kinds are told apart by keyslots and token:
 *   LUKS2_IMAGE     ours: no keyslots, a token "wlagent-image"
 *   LUKS2_LAYER     ours, of one VM: no keyslots, a token "wlagent-layer"
 *   LUKS2_ORDINARY  anybody's: keyslots of bounded cost, no token
 *
 * The JSON of both copies is the same byte for byte; label, subsystem and salt say nothing to wlagent.
 *
 * Shapes:  LUKS2 On-Disk Format Specification 1.1.1; tokens in agent/image/token.h.
 * Threads: pure.  Failure: WLA_E_INPUT naming the member; WLA_E_UNSUPPORTED for what is well formed but
 *          never opened.
 */

#include <stdint.h>

#include "base/uuid.h"
#include "image/token.h"

/* The one cipher that is opened. */
#define LUKS2_CIPHER "aes-xts-plain64"

/* The largest header area that is read: libcryptsetup's default. */
#define LUKS2_HEADER_MAX (16u * 1024u * 1024u)

enum luks2_kind {
        LUKS2_IMAGE,
        LUKS2_LAYER,
        LUKS2_ORDINARY,
};

struct luks2_header {
        enum luks2_kind kind;
        struct uuid uuid;
        uint64_t header_size; /* both metadata areas and the keyslots area, bytes */
        uint64_t data_offset; /* bytes; 0 with a detached header */
        uint32_t sector_size;
        uint32_t volume_key_size; /* bytes: 64, for ordinary headers also 32 */
        /* LUKS2_ORDINARY: what it takes to try a passphrase on every keyslot.  An iteration of PBKDF2 and
         * a KiB that Argon2 passes over once count 1: about a microsecond. */
        uint64_t kdf_cost;
        uint32_t kdf_memory; /* KiB, of the keyslot that needs most */
        union {
                struct image_token image; /* LUKS2_IMAGE */
                struct layer_token layer; /* LUKS2_LAYER */
        };
};

/* bytes: all that there is of the header, keyslots area included; what follows it is not looked at. */
int luks2_header_check(const uint8_t *bytes, size_t size, struct luks2_header *ret,
                       struct wla_error *err) _must_check_;
