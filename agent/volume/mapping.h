/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A mapping below /dev/mapper that lasts as long as somebody has it open.
 *
 * It is made over a loop device of the file that the session has opened, with a key in the kernel's
 * keyring, and judged by its table in the kernel before anybody hears of it.  From then on its removal at
 * its last close is asked for; the descriptor in struct mapping is what keeps it.
 *
 * Ownership: mapping_close() lets go of it and is safe on MAPPING_NONE.
 * Threads:   one at a time, in a process without others.
 * Failure:   WLA_E_DENIED for a wrong key, or a header that is not this file's; WLA_E_BUSY when the name
 *            is in use; WLA_E_SYSTEM.  Nothing is left then.
 */

#include "base/secret.h"
#include "volume/crypt_table.h"
#include "volume/crypt_volume.h"

struct mapping {
        int fd; /* of the mapped device, for reading */
        uint32_t major;
        uint32_t minor;
};

#define MAPPING_NONE ((struct mapping){.fd = -1})

/* How long a name that is just going away is waited for. */
#define MAPPING_WAIT_USEC UINT64_C(2000000)

/* How long one that is going away, or that was made by a session that has been killed since and udev is not done
 * with: on a busy host that takes a while. */
#define MAPPING_SHARE_WAIT_USEC UINT64_C(10000000)

struct mapping_plan {
        struct volume_name name;
        struct crypt_volume *volume;
        const struct luks2_header *header; /* what the volume was opened with */
        int data_fd;                       /* open for writing when writable */
        uint64_t data_size;
        bool writable;
        bool discards;
};

/* The name must not exist: when it is going away, that is waited for. */
int mapping_make(const struct mapping_plan *plan, const struct wla_secret *volume_key,
                 struct mapping *ret, struct wla_error *err) _must_check_;

/* The same for a name that several may share: a mapping that exists is used when its table is what would
 * be made, the file below is the plan's, and its key the given one. */
int mapping_make_or_share(const struct mapping_plan *plan, const struct wla_secret *volume_key,
                          struct mapping *ret, struct wla_error *err) _must_check_;

void mapping_close(struct mapping *mapping);

#define _cleanup_mapping_ __attribute__((cleanup(mapping_close)))
