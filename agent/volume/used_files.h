/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What is mapped already.
 *
 * Threads: one at a time.  Failure: WLA_E_BUSY naming the mapping, WLA_E_SYSTEM.
 */

#include <sys/types.h>

#include "volume/loop_device.h"
#include "volume/device_mapper.h"

/* Fails when a mapping of wlagent is over that file; with writable_only, only when it can write to it.  One
 * that is just going away is waited for. */
int used_file_refuse(dev_t device, ino_t inode, bool writable_only,
                     struct wla_error *err) _must_check_;

/* What is below a mapping of ours; WLA_E_NOT_FOUND when that is no loop device over a file. */
int used_file_find(const struct dm_device *device, struct loop_backing *ret,
                   struct wla_error *err) _must_check_;
