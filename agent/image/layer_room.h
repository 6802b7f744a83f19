/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How large the volume of a VM's layer has to be, so that no write of the guest fails for want of room.
 *
 * QEMU cannot grow a volume.  It looks for room for all the clusters that one request needs, side by side,
 * from the first cluster on that was freed last, and behind the last one when there is none; holes that are
 * shorter stay.  A guest that discards and writes again thus has it use more and more: no length is enough
 * for everything that it may do, since the requests have no length that they do not exceed.  So a layer
 * is made in such a way that QEMU frees nothing:
 *
 *   version 2 of qcow2   has no cluster that reads as zeros.  Over a backing file QEMU therefore ignores what
 *                        the guest discards, and writes the zeros that it asks for.
 *   version 3, with the disk's driver option discard_no_unref (libvirt 9.5, QEMU 8.2)
 *                        QEMU notes that the cluster reads as zeros, gives its content back to the host, and
 *                        keeps its place.
 *
 * Each cluster of the disk then gets a place once, as does each table: qcow2_full_size().
 *
 * The layers of version 3 that were made before may have any holes, within that length.  From the day
 * on which QEMU frees nothing in them any more, it needs at most a place for each cluster of the disk and for
 * each table behind all that there is: that length once more.  So all layers have twice that length, also
 * those that are found with less, when they are opened.  It costs nothing: what is not written takes no
 * space.
 *
 * Threads: pure.
 * Failure: WLA_E_INPUT.
 * Source:  QEMU 7.2 and 10.0, block/qcow2-refcount.c (alloc_clusters_noref), qcow2-cluster.c
 *          (discard_in_l2_slice, zero_in_l2_slice), qcow2.c (qcow2_co_pdiscard).
 */

#include <stdint.h>

#include "wlagent/error.h"

struct layer_room {
        uint64_t least; /* bytes that a layer has had since it was made */
        uint64_t ample; /* that it has from now on */
};

/* For a disk of that size. */
int layer_room_for(uint64_t virtual_size, struct layer_room *ret,
                   struct wla_error *err) _must_check_;

/* What is known of a layer before it is mapped, of its first bytes.  It must not have less than it had when
 * it was made, for the disk that is in it or for the image below, whichever is smaller: either may have been
 * enlarged.  Then the rest is lost, which more length would hide.  virtual_size: of the image's disk. */
int layer_room_check(const uint8_t head[static 512], uint64_t size, uint64_t virtual_size,
                     struct wla_error *err) _must_check_;
