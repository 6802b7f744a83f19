/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where Nova keeps the disk of an instance and the image below it.
 *
 *   INSTANCES/<instance uuid>/disk            the root disk, qcow2
 *   INSTANCES/_base/<sha1 of the image uuid>  the image as Glance has it, in hex
 *
 * The base is derived from the disk's path and the image's UUID, and never read from the disk, whose
 * content is a guest's.
 *
 * Threads: pure.
 * Failure: WLA_E_INPUT when the path is not that of an instance's root disk.
 * Source:  nova/virt/libvirt/imagecache.py, get_cache_fname(); nova/virt/libvirt/imagebackend.py.
 */

#include "base/uuid.h"
#include "volume/message.h"

/* ret_instance may be NULL. */
int nova_base_path(const char *disk, const struct uuid *image, char ret_base[VOLUMED_PATH_SIZE],
                   struct uuid *ret_instance, struct wla_error *err) _must_check_;

/* The other way: the root disk of an instance beside this base. */
int nova_disk_path(const char *base, const struct uuid *instance, char ret_disk[VOLUMED_PATH_SIZE],
                   struct wla_error *err) _must_check_;
