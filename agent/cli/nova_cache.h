/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Images in Intel's format in Nova's cache of images, and whether they are registered here.  The cache belongs to Nova's
 * user, who may put anything there.
 *
 * Threads: one.
 * Failure: what cannot be read is no image, and not registered; it is for reports.
 */

#include <dirent.h>
#include <stdbool.h>

#define NOVA_INSTANCES       "/var/lib/nova/instances"
#define NOVA_CACHE           NOVA_INSTANCES "/_base"
#define NOVA_CACHE_NAME_SIZE 41u /* SHA-1 in hex */

/* Whether the file of that name is one, and instances may start from it: the name is as Nova makes them, so that it
 * can be told to anybody. */
bool nova_cache_has_isecl(int dir_fd, const char *name);

/* registry: the directory where images are registered; it is read from its begin.  NULL: there is none. */
bool nova_cache_is_registered(DIR *registry, const char *name);
