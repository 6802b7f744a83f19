/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a reload cannot change while the daemon runs.
 *
 * Threads: any.  Failure: none.
 */

#include "config/config.h"

/* Logs a line for each such option that differs; first is what the daemon was started with. */
void config_tell_restart(const struct config *first, const struct config *next);
