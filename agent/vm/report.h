/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the journal gets to know about VMs: one event a fact, with the VM, the image, the key and the
 * volume as fields.  Never a definition, never a key.
 *
 * Threads: the loop thread.
 */

#include "vm/launch.h"
#include "vm/vm.h"

void report_opened(const struct vm_disk *disk);

/* How an attempt to open disks has ended, and what took how long; err is NULL on success. */
void report_launch(const struct vm *vm, uint64_t duration_usec, const struct launch_times *times,
                   const struct wla_error *err);

/* A definition that was refused before it was known whose it is, or whether it is one. */
void report_refused(const struct uuid *vm, const char *name, const struct wla_error *err);

/* The instance report: this VM runs with these images, by these keys. */
void report_running(const struct vm *vm);

void report_closed(const struct vm *vm);

/* The lease has ended before the VM ran: its time was over, or volumed has ended it. */
void report_lease_ended(const struct vm_disk *disk, const char *why);

/* A layer whose VM libvirt does not know. */
void report_orphan(const struct volume_name *layer, bool removed);
