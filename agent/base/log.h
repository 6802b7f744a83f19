/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One event, one line: to the journal with fields when stderr is the journal, as text on stderr
 * otherwise.  A function that returns an error does not log it; whoever ends the request does.
 *
 * No secret, no request body and no annotation is ever an argument here.
 * Threads: any.  Failure: none; an event that cannot be written is lost.
 */

#include <syslog.h>

#include "wlagent/error.h"

/* Message ids; packaging/systemd/wlagent.catalog explains each to the operator. */
#define LOG_ID_STARTED       "6f3d1a52c0b94a7f9a0e5b1f7c2d8e01"
#define LOG_ID_STOPPED       "6f3d1a52c0b94a7f9a0e5b1f7c2d8e02"
#define LOG_ID_RELOADED      "6f3d1a52c0b94a7f9a0e5b1f7c2d8e03"
#define LOG_ID_RELOAD_FAILED "6f3d1a52c0b94a7f9a0e5b1f7c2d8e04"
#define LOG_ID_KEY_RELEASED  "6f3d1a52c0b94a7f9a0e5b1f7c2d8e05"
#define LOG_ID_KEY_REFUSED   "6f3d1a52c0b94a7f9a0e5b1f7c2d8e06"
#define LOG_ID_PEER_REFUSED  "6f3d1a52c0b94a7f9a0e5b1f7c2d8e07"
#define LOG_ID_TPM_LOST      "6f3d1a52c0b94a7f9a0e5b1f7c2d8e08"
#define LOG_ID_TPM_READY     "6f3d1a52c0b94a7f9a0e5b1f7c2d8e09"
#define LOG_ID_LIMIT         "6f3d1a52c0b94a7f9a0e5b1f7c2d8e0a"
#define LOG_ID_START_FAILED  "6f3d1a52c0b94a7f9a0e5b1f7c2d8e0b"

#define LOG_ID_LAUNCH_ALLOWED   "6f3d1a52c0b94a7f9a0e5b1f7c2d8e20"
#define LOG_ID_LAUNCH_REFUSED   "6f3d1a52c0b94a7f9a0e5b1f7c2d8e21"
#define LOG_ID_VOLUME_OPENED    "6f3d1a52c0b94a7f9a0e5b1f7c2d8e22"
#define LOG_ID_VOLUME_CLOSED    "6f3d1a52c0b94a7f9a0e5b1f7c2d8e23"
#define LOG_ID_INSTANCE_RUNNING "6f3d1a52c0b94a7f9a0e5b1f7c2d8e24"
#define LOG_ID_LEASE_ENDED      "6f3d1a52c0b94a7f9a0e5b1f7c2d8e25"
#define LOG_ID_ORPHAN_FOUND     "6f3d1a52c0b94a7f9a0e5b1f7c2d8e26"
#define LOG_ID_ORPHAN_REMOVED   "6f3d1a52c0b94a7f9a0e5b1f7c2d8e27"

#define LOG_ID_REPORT_POSTED "6f3d1a52c0b94a7f9a0e5b1f7c2d8e40"
#define LOG_ID_REPORT_LOST   "6f3d1a52c0b94a7f9a0e5b1f7c2d8e41"

struct log_field {
        const char *name;  /* journal field: upper case, WLA_ in front */
        const char *value; /* NULL: left out */
};

/* Called once before the first thread; level is the least urgent priority that is written. */
void log_open(int level);
void log_set_level(int level);

/* fields ends with {NULL, NULL}, or is NULL. */
void log_event(int priority, const char *message_id, const struct log_field *fields,
               const char *format, ...) _printf_(4, 5);

/* A plain line without id and fields. */
#define log_line(priority, ...) log_event((priority), NULL, NULL, __VA_ARGS__)
