/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The JSON of a LUKS2 header: what luks2_header.c and luks2_keyslots.c share.
 *
 * Shapes: LUKS2 On-Disk Format Specification 1.1.1, chapter 3.
 */

#include "base/json_object.h"
#include "image/luks2_header.h"

/* "keyslots" etc. hold objects by number; libcryptsetup has at most 32 of each. */
#define LUKS2_OBJECTS_MAX 32u

/* Where the binary header says that things are, in bytes. */
struct luks2_areas {
        uint64_t metadata_size; /* of one copy, binary header included */
        uint64_t bytes_size;    /* of what is there to read */
};

/* Fills everything in ret but the UUID. */
int luks2_json_check(const char *text, size_t size, const struct luks2_areas *areas,
                     struct luks2_header *ret, struct wla_error *err) _must_check_;

/* The keyslots of an ordinary header, which all hold the one volume key and are what digest_keyslots
 * lists.  header_size must be final; fills volume_key_size. */
int luks2_keyslots_check(const struct json_value *keyslots,
                         const struct json_value *digest_keyslots, const struct luks2_areas *areas,
                         struct luks2_header *header, struct wla_error *err) _must_check_;

/* A hash that wlagent accepts: sha256 or sha512. */
bool luks2_hash_known(const struct json_value *hash);
