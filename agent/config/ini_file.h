/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One file of the configuration, read strictly.
 *
 * The format is that of systemd's files: [Section] and Key=Value lines, comments behind # or ; at the
 * start of a line, and behind a ; that follows white space.  Lines have at most CONFIG_LINE_MAX bytes.
 *
 * Failure: what is wrong in the file is appended to faults and counted, and reading goes on; -1 only
 *          when that is not possible.
 */

#include "base/buf.h"
#include "config/config.h"

/* inih's own limit as distributions build it. */
#define CONFIG_LINE_MAX 196u
#define CONFIG_FILE_MAX (64u * 1024u)

struct config_faults {
        struct buf *lines;
        unsigned count;
};

/* Adds "FILE:LINE: text" to the faults; without LINE when line is 0, and only text when path is NULL. */
int config_fault(struct config_faults *faults, const char *path, unsigned line,
                 const struct wla_error *cause, struct wla_error *err) _must_check_;

int config_read_file(const char *path, struct config *config, struct config_faults *faults,
                     struct wla_error *err) _must_check_;
