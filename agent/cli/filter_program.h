/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Another program that makes its standard output of its standard input, as systemd-creds does.
 *
 * The input may be secret: it is on a pipe and nowhere else, neither in an argument nor in the
 * environment, of which the program gets PATH and what begins with SYSTEMD_ only.
 *
 * Threads: one.
 * Failure: WLA_E_SYSTEM it cannot be run, or failed, with the last line it said; WLA_E_TIMEOUT; WLA_E_INPUT its
 *          output is above the limit.  The output is of no use then.
 */

#include "base/buf.h"
#include "base/secret.h"

/* What a pipe takes at once, whoever reads it and when (pipe(7), PIPE_BUF). */
#define FILTER_INPUT_MAX 4096u

struct filter_program {
        char *const *argv; /* argv[0] is a path */
        struct wla_bytes input;
        uint64_t limit_usec;
};

/* Appends the output, whose limit counts. */
int filter_program_run(const struct filter_program *program, struct buf *output,
                       struct wla_error *err) _must_check_;
