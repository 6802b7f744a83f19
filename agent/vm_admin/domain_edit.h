/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Protects a disk of a domain and takes that back, in the domain's definition: XML in, XML out.
 *
 * What is written is what agent/vm/domain.h says.  The disk becomes the block device that wlagentd opens
 * before each start; nothing tells libvirt of the image below a layer, whose header names it, so that
 * the definition needs no change when an ephemeral disk gets another image.
 *
 * A qcow2 has discard_no_unref='on' when disk->keeps_places says that libvirt and QEMU know it, and else
 * discard='ignore' (image/layer_room.h).  One that is only read has neither: libvirt refuses the first there
 * (virDomainDiskDefValidate).
 *
 * Threads: pure.
 * Failure: WLA_E_NOT_FOUND no such disk, WLA_E_INPUT a disk that cannot be protected, WLA_E_BUSY without
 *          memory.  The definition is of no use any more then.
 */

#include "vm/domain.h"
#include "vm_admin/definition.h"

int domain_edit_protect(struct definition *definition, const struct protected_disk *disk,
                        struct wla_error *err) _must_check_;

/* For a disk that libvirt itself encrypts: writes the line that gives its secret the key, and nothing else.
 * disk says target and key id; its secret and mode are set. */
int domain_edit_give_secret(struct definition *definition, struct protected_disk *disk,
                            struct wla_error *err) _must_check_;

struct unprotected_disks {
        size_t count;
        char targets[DOMAIN_DISKS_MAX][DISK_TARGET_SIZE];
};

/* target NULL: all disks.  A disk that somebody has given another source meanwhile keeps that. */
int domain_edit_unprotect(struct definition *definition, const char *target,
                          struct unprotected_disks *ret, struct wla_error *err) _must_check_;
