/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the double of wlagent-volumed does with files, as the real one does but for how they are opened. */

#include "volume/request.h"

/* As session_nova.c. */
int double_rebase(const struct volume_request *request, struct wla_error *err) _must_check_;

/* As session_digest.c: of the file at path, with its record in directory. */
int double_digest(const char *path, const char *directory, struct volumed_reply *reply,
                  struct wla_error *err) _must_check_;
