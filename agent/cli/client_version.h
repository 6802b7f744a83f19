/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The programs that decrypt images, as they are installed here: where, which version, and whether the
 * ocicrypt inside them knows keyproviders at all.
 *
 * ocicrypt has keyproviders since 1.1.0, and distributions build these programs with ocicrypts of
 * their own choice, so versions alone do not tell.  The name of the environment variable that only
 * ocicrypt >= 1.1.0 reads stands in the program file.
 *
 * Failure: WLA_E_NOT_FOUND, WLA_E_TIMEOUT the program hangs, WLA_E_SYSTEM.
 */

#include <limits.h>
#include <stdint.h>

#include "wlagent/error.h"

#define CLIENT_VERSION_MAX 80u

struct client {
        char path[PATH_MAX];
        char version[CLIENT_VERSION_MAX]; /* first line of --version, printable characters */
        bool knows_keyproviders;
        bool is_script; /* then that cannot be told */
};

/* Looks in PATH, and runs "NAME --version" for at most limit_usec. */
int client_find(const char *name, uint64_t limit_usec, struct client *ret,
                struct wla_error *err) _must_check_;

/* The first MAJOR.MINOR.PATCH in a line, as one number that sorts: 1007024 for 1.7.24; 0 when there
 * is none. */
unsigned client_version_number(const char *line);
