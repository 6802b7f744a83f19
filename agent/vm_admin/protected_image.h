/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether a file is an image that wlagent will open as a disk: asked before a definition is changed, so
 * that a mistake shows then and not when the domain starts.
 *
 * It lies below one of ImageRoots=, no component of the rest of its path is a symbolic link, and its
 * header passes the check that wlagentd and wlagent-volumed make.  Both make it again at each start.
 *
 * Threads: any.
 * Failure: WLA_E_NOT_FOUND, WLA_E_INPUT, WLA_E_UNSUPPORTED, WLA_E_SYSTEM; the text names the file.
 */

#include "config/config.h"
#include "vm/domain.h"

/* image, header, key and mode are set; finds out format. */
int protected_image_check(const struct config_paths *roots, struct protected_disk *disk,
                          struct wla_error *err) _must_check_;
