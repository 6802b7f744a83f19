/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What "wlagent migrate" asks of systemctl(1): of the running system only; an image has no units that run.
 *
 * Threads: one.
 * Failure: WLA_E_NOT_FOUND no systemctl, WLA_E_TIMEOUT it hangs, WLA_E_SYSTEM it fails; the text names the unit.
 */

#include "cli/host_root.h"

/* unit: NULL for a verb that takes none. */
int migrate_systemctl(const struct host_root *root, const char *verb, const char *unit,
                      struct wla_error *err) _must_check_;

/* A unit that is not loaded is stopped. */
int migrate_systemctl_stop(const struct host_root *root, const char *unit,
                           struct wla_error *err) _must_check_;

/* *ret: it runs, or is about to, as a service does that waits for its next start. */
int migrate_systemctl_runs(const struct host_root *root, const char *unit, bool *ret,
                           struct wla_error *err) _must_check_;
