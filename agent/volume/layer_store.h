/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The files of layers, in LayerDirectory=, which belongs to root and is closed to others.
 *
 *   VM UUID/TARGET/disk      ciphertext
 *   VM UUID/TARGET/header    its LUKS2 header
 *   VM UUID/TARGET.new/      being made; nothing in it was ever used
 *   VM UUID/TARGET.old/      being removed
 *   direct/HEADER UUID       which file is behind an image that is written to (volume/direct_record.h)
 *   lock                     locks on disks, each a byte of it
 *
 * A layer appears by the rename of its directory, when all in it is on the disk, and goes the same way:
 * whenever the power fails, it is whole or it is not there.  What an attempt left that was cut off is removed
 * by the next one, or by layer_store_tidy().
 *
 * Ownership: each has a close function that is safe on its NONE.
 * Threads:   one at a time.
 * Failure:   WLA_E_BUSY when another session works on the same disk, WLA_E_NOT_FOUND, WLA_E_DENIED for a
 *            directory that is open to others, WLA_E_SYSTEM.
 */

#include <sys/types.h>

#include "base/uuid.h"
#include "image/token.h"

struct layer_store {
        int fd;
        int lock_fd; /* -1 until something is locked */
};

#define LAYER_STORE_NONE ((struct layer_store){.fd = -1, .lock_fd = -1})

/* Makes the directory when only itself is missing. */
int layer_store_open(const char *path, struct layer_store *ret, struct wla_error *err) _must_check_;

/* Keeps other sessions away from one disk until the store is closed; with shared, those only that want it
 * for themselves. */
int layer_store_lock(struct layer_store *store, const char *first, const char *second, bool shared,
                     struct wla_error *err) _must_check_;

/* The same, exclusive, but waits for the others, for as long as the session may take (volume/watchdog.h). */
int layer_store_wait_lock(struct layer_store *store, const char *first, const char *second,
                          struct wla_error *err) _must_check_;

void layer_store_unlock(struct layer_store *store, const char *first, const char *second);

void layer_store_close(struct layer_store *store);

struct layer_files {
        int disk_fd; /* open for writing */
        int header_fd;
        dev_t device;
        ino_t inode;
        uint64_t size;
        uint64_t allocated;
};

#define LAYER_FILES_NONE ((struct layer_files){.disk_fd = -1, .header_fd = -1})

/* WLA_E_NOT_FOUND when there is none. */
int layer_files_open(const struct layer_store *store, const struct uuid *vm, const char *target,
                     struct layer_files *ret, struct wla_error *err) _must_check_;

/* Makes the disk of a layer as long as wanted, and never shorter; *size is its length.  Where the file system
 * cannot have so long a file it stays as long as it is, and the log says so: it is a layer all the same.
 * Whenever this is cut off, the next attempt does it. */
void layer_files_lengthen(int disk_fd, uint64_t wanted, uint64_t *size);

/* For a layer with data of a guest, which must not be on the disk before the length is. */
int layer_files_lengthen_durably(int disk_fd, uint64_t wanted, uint64_t *size,
                                 struct wla_error *err) _must_check_;

void layer_files_close(struct layer_files *files);

/* Renamed away first, so that it is gone whatever happens next. */
int layer_files_remove(struct layer_store *store, const struct uuid *vm, const char *target,
                       struct wla_error *err) _must_check_;

/* Removes what was cut off while it was made or removed, but for what another session works on. */
int layer_store_tidy(struct layer_store *store, struct wla_error *err) _must_check_;

/* Calls each() for every layer, until that fails. */
int layer_store_each(const struct layer_store *store,
                     int (*each)(const struct uuid *vm, const char *target,
                                 const struct layer_files *files, void *userdata,
                                 struct wla_error *err),
                     void *userdata, struct wla_error *err) _must_check_;

/* A layer that is being made. */
struct layer_draft {
        int vm_fd; /* the VM's directory; -1 when the layer is ephemeral */
        int fd;    /* of the draft in it */
        int disk_fd;
        char target[DISK_TARGET_SIZE];
        bool kept; /* it has become a layer */
};

#define LAYER_DRAFT_NONE ((struct layer_draft){.vm_fd = -1, .fd = -1, .disk_fd = -1})

/* The disk has that size and no content.  An ephemeral one has no name. */
int layer_draft_new(struct layer_store *store, const struct uuid *vm, const char *target,
                    uint64_t size, bool ephemeral, struct layer_draft *ret,
                    struct wla_error *err) _must_check_;

/* Makes it a layer, with that header.  disk_fd: the draft's, which may have been taken from it. */
int layer_draft_keep(struct layer_draft *draft, int disk_fd, const void *header, size_t size,
                     struct wla_error *err) _must_check_;

/* Removes what has not been kept. */
void layer_draft_close(struct layer_draft *draft);

#define _cleanup_layer_store_ __attribute__((cleanup(layer_store_close)))
#define _cleanup_layer_files_ __attribute__((cleanup(layer_files_close)))
#define _cleanup_layer_draft_ __attribute__((cleanup(layer_draft_close)))
