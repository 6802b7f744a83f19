/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether dm-crypt stands between what is written to a place and every disk that it may end up on.
 *
 * A logical volume or an array may lie over dm-crypt, and over several devices: each way down has to pass
 * one.  The kernel shows what a block device lies on as links in its directory "slaves"
 * (Documentation/ABI/stable/sysfs-block), and device-mapper the kind of a mapping in its uuid, which
 * cryptsetup begins with "CRYPT-" and the kind of its own: those that only check what is read encrypt
 * nothing.
 *
 * btrfs has a number of its own in place of a device's, and may be on several: they are links in its directory
 * "devices" in /sys/fs/btrfs (linux/btrfs.h tells its UUID).  Of others without a device, as ZFS, overlayfs and
 * NFS, it cannot be told.
 *
 * root stands before every path: "", or a directory that a test has made.
 * Threads: one.
 * Failure: what cannot be read is in clear; it is for reports.
 */

#include <stdbool.h>

enum storage {
        STORAGE_CLEAR,
        STORAGE_ENCRYPTED,
        STORAGE_UNKNOWN, /* there is no block device, or not each of them is to be seen */
};

/* A block device by its name in /sys/class/block. */
bool encrypted_storage_device(const char *root, const char *name);

/* The device of the file system that a file or directory is on; what is kept in memory is on no disk. */
enum storage encrypted_storage_path(const char *root, const char *path);
