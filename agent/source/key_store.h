/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The directory of key files, StateDirectory/keys: one NAME.json a key (key_file.h), mode 0600.
 *
 * Names reach the file system only after key_name_valid(), and only relative to the open directory,
 * without following symbolic links.  A file is used when it belongs to root, to the caller or to the
 * directory's owner, and nobody else may read or write it.
 *
 * Ownership: key_store_open() fills a struct to close with key_store_close().
 * Threads:   one store belongs to one thread; several may be open on one directory.
 * Failure:   WLA_E_NOT_FOUND, WLA_E_INPUT a file that is no key file, WLA_E_DENIED owners or modes,
 *            WLA_E_SYSTEM; the text names the file.
 */

#include <limits.h>
#include <sys/types.h>

#include "source/key_file.h"

#define KEY_STORE_DIRECTORY "keys" /* inside the state directory */

struct key_store {
        int fd;
        uid_t owner;
        char directory[PATH_MAX]; /* its path, for messages */
};

int key_store_open(const char *state_directory, struct key_store *ret,
                   struct wla_error *err) _must_check_;
void key_store_close(struct key_store *store);

#define _cleanup_key_store_ __attribute__((cleanup(key_store_close)))
#define KEY_STORE_CLOSED    ((struct key_store){.fd = -1})

int key_store_read(const struct key_store *store, const char *name, struct key_file *ret,
                   struct wla_error *err) _must_check_;

/* Without replace an existing key is WLA_E_INPUT. */
int key_store_write(const struct key_store *store, const struct key_file *file, bool replace,
                    struct wla_error *err) _must_check_;

int key_store_remove(const struct key_store *store, const char *name,
                     struct wla_error *err) _must_check_;

struct key_names {
        size_t count;
        char (*names)[KEY_NAME_MAX + 1]; /* sorted */
};

/* Every file in the store that has the name of a key file; whether it is one, reading tells. */
int key_store_list(const struct key_store *store, struct key_names *ret,
                   struct wla_error *err) _must_check_;
void key_names_clear(struct key_names *names);

#define _cleanup_key_names_ __attribute__((cleanup(key_names_clear)))
