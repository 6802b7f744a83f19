/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the kernel's device-mapper says of our devices, and their removal.
 *
 * Threads: one at a time, in a process without others; libdevmapper has global state.
 * Failure: WLA_E_BUSY for a device that is open, WLA_E_NOT_FOUND, WLA_E_SYSTEM.
 */

#include <stdint.h>

#include "volume/volume_name.h"

#define DM_TARGET_SIZE     16u
#define DM_PARAMETERS_SIZE 512u

struct dm_device {
        bool exists;
        bool read_only;
        bool leaves_at_last_close; /* its removal has been asked for while it was open */
        uint32_t major;
        uint32_t minor;
        uint32_t open_count;
        /* Of the active table; an empty target for a device without, or with more than one line. */
        uint64_t start;   /* in sectors of 512 bytes */
        uint64_t sectors; /* 512 bytes each */
        char target[DM_TARGET_SIZE];
        char parameters[DM_PARAMETERS_SIZE];
};

int dm_device_find(const char *name, struct dm_device *ret, struct wla_error *err) _must_check_;

/* Removes it, at once or, with at_last_close, as soon as nobody has it open.  udev has 5 seconds to take the
 * link away. */
int dm_device_remove(const char *name, bool at_last_close, struct wla_error *err) _must_check_;

/* Whether the kernel has the target, or loads its module now; true when that cannot be told. */
bool dm_target_exists(const char *target);

/* What libdevmapper has found out about the kernel so far: it asks once, and believes for ever that there is no
 * device-mapper when that was so. */
void dm_forget(void);

/* From here on the last error that libdevmapper itself tells of, whoever has called it, is kept there; NULL: nowhere.
 * libcryptsetup tries things that may fail. */
void dm_message_keep(char *text, size_t size);

/* Calls each() for every device of wlagent, until that fails. */
int dm_device_each(int (*each)(const char *name, void *userdata, struct wla_error *err),
                   void *userdata, struct wla_error *err) _must_check_;
