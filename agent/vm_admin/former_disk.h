/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a disk was before it was protected: kept in its line of our metadata, in libvirt's own elements.
 *
 *   <wlagent:former type="file">          the disk's own type; absent when it had none
 *     <driver name="qemu" type="qcow2"/>
 *     <source file="/var/lib/libvirt/images/web.qcow2"/>
 *     <backingStore/>
 *   </wlagent:former>
 *
 * Failure: WLA_E_BUSY without memory.
 */

#include "vm_admin/definition.h"

/* Copies it into a new <former> of line, in place of one that is there. */
int former_disk_keep(const xmlNode *disk, xmlNode *line, struct wla_error *err) _must_check_;

/* The reverse; what the disk is meanwhile goes.  WLA_E_NOT_FOUND when line has no <former>. */
int former_disk_restore(xmlNode *disk, const xmlNode *line, struct wla_error *err) _must_check_;
