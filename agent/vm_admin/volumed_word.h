/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the wlagent-volumed that runs says of an image.  It may have been started with another configuration
 * than the one that is read here, and sees the host's files from its own sandbox.
 *
 * Threads: one.
 */

#include "config/config.h"
#include "vm/domain.h"

/* 0: it opens the image for inspection, or has no word on it: it does not run, is busy, or does not serve this
 * user.  Else err is its refusal. */
int volumed_word_of(const struct config *config, const struct protected_disk *disk,
                    struct wla_error *err) _must_check_;
