/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Gives Nova its disk back: when an instance has ended, its disk names the file in Nova's cache again.
 *
 * The VM stays known, and no launch of it begins, until volumed has answered: a launch points the disk the
 * other way.  When it fails the disk names the mapping; the next start takes it so, too.
 *
 * Ownership: a return belongs to its VM and ends with it.
 * Threads:   the loop thread; volumed is asked on the pool.
 * Failure:   told in the log; nobody could do anything about it.
 */

#include "vm/vm.h"

/* The disk is of mode DISK_NOVA.  go_on is called when volumed has answered, unless this fails at once. */
void nova_return_begin(const struct vm_disk *disk, void (*go_on)(struct vm *vm));

/* Calls done when the return has ended, or the next one waits. */
void nova_return_wait(struct nova_return *nova_return, void (*done)(void *userdata),
                      void *userdata);
