/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What volumed says there is: mappings of ours, layers, or converted images.
 *
 * Ownership: the caller's; volume_list_clear() is safe on {0}.
 * Threads:   any; blocks until the deadline.
 * Failure:   as client.h says.
 */

#include "volume/client.h"

/* More than a host has: what is beyond is an error, not cut off. */
#define VOLUME_LIST_MAX 65536u

struct volume_entry {
        struct volume_name name;
        char text[VOLUME_NAME_SIZE];
        uint32_t open_count; /* conversions: of the layers that stand on it */
        uint64_t size;
        uint64_t allocated;   /* mappings: 0 */
        uint64_t data_device; /* st_dev and st_ino of the data file */
        uint64_t data_inode;
        bool writable;
        /* Conversions: */
        uint64_t used_sec; /* since 1970 */
        char key_id[KEY_ID_TEXT_MAX + 1];
};

struct volume_list {
        size_t count;
        size_t room;
        struct volume_entry *entries;
};

/* operation: VOLUMED_LIST, VOLUMED_LIST_LAYERS or VOLUMED_LIST_CONVERSIONS. */
int volume_list_read(const char *socket, enum volumed_operation operation,
                     const struct deadline *deadline, struct volume_list *ret,
                     struct wla_error *err) _must_check_;

int volume_list_add(struct volume_list *list, const struct volume_entry *entry,
                    struct wla_error *err) _must_check_;

const struct volume_entry *volume_list_find(const struct volume_list *list, const char *name);

void volume_list_clear(struct volume_list *list);
