/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Gives Nova its disk back: when an instance has ended, its disk names the file in Nova's cache again.  And
 * tells whether it has ended: what QEMU has open is not changed.
 *
 * The VM stays known, and no launch of it begins, until volumed has answered: a launch points the disk the
 * other way.  When it fails the disk names the mapping; the next start takes it so, too.
 *
 * Ownership: a return belongs to its VM and ends with it.
 * Threads:   the loop thread; volumed is asked on the pool.
 * Failure:   told in the log, and to go_on.
 */

#include "vm/vm.h"

/* The disk is of mode DISK_NOVA, and a VM has one of them.  go_on is called when volumed has answered, unless
 * this fails at once; err is NULL when the disk is Nova's.  When a return is under way, another one follows
 * it: the instance may have ended in between. */
void nova_return_begin(const struct vm_disk *disk,
                       void (*go_on)(struct vm *vm, const struct wla_error *err));

/* Calls done when the return has ended, or the next one waits. */
void nova_return_wait(struct nova_return *nova_return, void (*done)(void *userdata),
                      void *userdata);
