/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Trust reports of VMs that run: one for each image that came with a flavor, once a start.
 *
 * The record of the VM says which were made, so that neither another start of wlagentd nor libvirt's
 * reconnect makes one again, and one that could not be made is made in the next life.  Where no report can
 * be made the VM runs all the same.
 *
 * Threads: the loop thread.
 */

#include "vm/vm.h"

/* The VM runs, and its record says so. */
void vm_trust_report(struct vm *vm);
