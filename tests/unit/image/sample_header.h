/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Headers that libcryptsetup has made, and what libcryptsetup reads from one. */

#include "image/luks2_header.h"

enum sample {
        SAMPLE_IMAGE,
        SAMPLE_SEALED,
        SAMPLE_LAYER,
        SAMPLE_PBKDF2,   /* ordinary, detached, two keyslots */
        SAMPLE_ARGON2ID, /* ordinary, in front of its data, 16 MiB */
        _SAMPLE_MAX,
};

struct sample_header {
        uint8_t *bytes;
        size_t size;
};

struct sample_header sample_header_make(enum sample sample);
void sample_header_clear(struct sample_header *header);

/* Whether libcryptsetup loads these bytes and finds in them what header says.  0: it does not load
 * them; 1: it agrees; -1: it reads something else. */
int sample_header_compare(const struct sample_header *bytes, const struct luks2_header *header);

#define _cleanup_sample_header_ __attribute__((cleanup(sample_header_clear)))
