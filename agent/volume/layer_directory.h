/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The directories inside of LayerDirectory=, by name.
 *
 * Threads: any.  Failure: as said.
 */

#include "volume/layer_store.h"

#define LAYER_DISK   "disk"
#define LAYER_HEADER "header"
#define LAYER_NEW    ".new"
#define LAYER_OLD    ".old"

/* A target never holds a '.', so these names are never a layer's. */
#define LAYER_NAME_SIZE (DISK_TARGET_SIZE + sizeof(LAYER_NEW))

void layer_directory_name(const char *target, const char *suffix, char ret[LAYER_NAME_SIZE]);

/* -1 with errno. */
int layer_directory_open(int parent_fd, const char *name, int *ret_fd) _must_check_;

/* Makes it unless it exists, makes its name durable, and opens it. */
int layer_directory_make(int parent_fd, const char *name, int *ret_fd,
                         struct wla_error *err) _must_check_;

/* Removes the directory of a VM without disks, unless somebody makes one just now. */
void layer_directory_remove_empty(struct layer_store *store, const struct uuid *vm);

/* Removes it with disk and header, if it exists.  Anything else in it is not ours: WLA_E_SYSTEM. */
int layer_directory_remove(int parent_fd, const char *name, struct wla_error *err) _must_check_;
