/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What keeps the memory of this process to itself.
 *
 * Threads: before the first one.  Failure: WLA_E_SYSTEM.
 */

#include "wlagent/error.h"

/* No core dumps, no ptrace(2) and no /proc/PID/mem but for CAP_SYS_PTRACE, no new privileges by
 * execve(2), one heap for all threads.  Refuses when somebody is tracing the process already. */
int process_harden(struct wla_error *err) _must_check_;
