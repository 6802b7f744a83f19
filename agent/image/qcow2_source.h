/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The disk inside a qcow2 image that stands for itself: versions 2 and 3, clusters that are plain, zero
 * or compressed (zlib, zstd).
 *
 * The image is hostile until proved: no backing file, no external data file, no encryption, no feature
 * that is not known; tables are bounded and every offset in them is checked when it is followed.  Of
 * internal snapshots the active state is read.
 *
 * Source: QEMU, docs/interop/qcow2.rst.
 */

#include "image/disk_source.h"

/* Takes file, also on failure. */
int qcow2_source_open(struct disk_source *file, struct disk_source *ret,
                      struct wla_error *err) _must_check_;
