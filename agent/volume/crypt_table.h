/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The one line of device-mapper's table that wlagent's devices have, read strictly.
 *
 *   crypt aes-xts-plain64 :64:logon:DESCRIPTION 0 MAJOR:MINOR OFFSET [COUNT OPTION...]
 *
 * A key in the table itself, a cipher other than that one, an initial vector that starts elsewhere, or an
 * option that is not known is refused.
 *
 * Threads: pure.  Failure: WLA_E_DENIED saying what is wrong, never the line itself.
 * Source:  the kernel's dm-crypt.rst.
 */

#include "volume/device_mapper.h"

struct crypt_table {
        uint64_t sectors;  /* of 512 bytes, like the offset */
        uint64_t offset;   /* on the device below */
        uint32_t key_size; /* bytes */
        uint32_t major;    /* of the device below */
        uint32_t minor;
        uint32_t sector_size;
        bool discards;
};

int crypt_table_read(const struct dm_device *device, struct crypt_table *ret,
                     struct wla_error *err) _must_check_;

/* Whether they are the same but for the device below. */
bool crypt_table_equal(const struct crypt_table *a, const struct crypt_table *b);
