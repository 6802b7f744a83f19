/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Points the disk of a Nova instance at the mapping of its base image, and back at the base.
 *
 * Only the name of the backing file changes (image/qcow2_backing.h), and only from one of the two to the
 * other: a disk over anything else is left alone.  While any process of QEMU has the disk open, in
 * whatever way, nothing changes (a disk that names what is wanted may be open: on the other host, when a
 * VM migrates on shared storage): the locks are those that QEMU takes, bytes 100 to 299 (block/file-posix.c,
 * RAW_PERM_LOCK_BASE and RAW_SHARED_LOCK_BASE), as open file description locks.
 *
 * Ownership: fd stays the caller's; it is locked until it is closed.
 * Threads:   any.
 * Failure:   WLA_E_BUSY while it is in use, WLA_E_INPUT and WLA_E_UNSUPPORTED for a disk that is not
 *            as Nova makes them, WLA_E_SYSTEM.  A disk that could be written only in part names one of
 *            the two files still.
 */

#include "image/token.h"

struct nova_disk_backing {
        const char *base;           /* the file; to Nova it is raw */
        const char *mapping;        /* the device */
        bool to_mapping;            /* which of them is wanted */
        enum image_content content; /* of the mapping */
        uint64_t
                virtual_size; /* of the disk inside the image, bytes: this disk must not be smaller */
};

/* fd: the disk, open for reading and writing.  *ret_changed: false when it was so already. */
int nova_disk_rebase(int fd, const struct nova_disk_backing *backing, bool *ret_changed,
                     struct wla_error *err) _must_check_;
