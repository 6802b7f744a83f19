/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The state directory and the key store in it, made as wlagentd needs them: modes 0750 and 0700, and
 * the daemon's when root makes them.  What exists is left as it is.
 *
 * Failure: WLA_E_SYSTEM; the text names the directory.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "wlagent/error.h"

#define DAEMON_USER "wlagent"

int state_directory_make(const char *path, struct wla_error *err) _must_check_;

#define IMAGES_DIRECTORY "images" /* inside the state directory; mode 0755: headers are public */

/* For registered images, in a state directory that exists. */
int state_directory_make_images(const char *path, struct wla_error *err) _must_check_;

/* false when there is no such user, as when wlagent runs from a build directory. */
bool state_directory_daemon_ids(uid_t *ret_uid, gid_t *ret_gid);
