/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A disk as a qcow2 that stores its allocated clusters only: what --compact encrypts.
 *
 * The image is never anywhere as a whole: where everything lies is known from the map of allocated
 * clusters (a bit each), so any part of it can be made when it is asked for.  The same disk gives the
 * same bytes.
 *
 * Shapes: image/qcow2_writer.h.
 */

#include "image/disk_source.h"

/* Takes disk, also on failure.  WLA_E_INPUT when it is larger than a qcow2 can be. */
int compact_source_open(struct disk_source *disk, struct disk_source *ret,
                        struct wla_error *err) _must_check_;
