/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which file is behind an image that is written to in place.
 *
 * The probe in the image's header holds for the image as it was made.  Before the first write it has to
 * match, and the file's handle is kept; from then on the handle has to be the same.  A handle
 * (name_to_handle_at(2)) stays what it is over a boot, and another file never gets it; where a
 * file system has none, its inode number serves.
 *
 * Threads: any.  Failure: WLA_E_SYSTEM.
 */

#include "volume/layer_store.h"

int direct_record_find(const struct layer_store *store, const struct uuid *header, int data_fd,
                       bool *ret_known, struct wla_error *err) _must_check_;

/* On the disk when it returns. */
int direct_record_write(const struct layer_store *store, const struct uuid *header, int data_fd,
                        struct wla_error *err) _must_check_;
