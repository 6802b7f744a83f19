/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The end of every call: one event in the log, with who, which key and how it ended, and the metrics.
 *
 * Threads: the loop thread.  Failure: none.
 */

#include "keyprovider/keyprovider_call.h"

/* reason: for people; NULL when the call succeeded. */
void keyprovider_event_end(const struct keyprovider_call *call, enum wla_code code,
                           const char *reason);

/* Logged but not counted: how the call would have ended is not known. */
void keyprovider_event_client_gone(const struct keyprovider_call *call);
