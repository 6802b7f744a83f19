/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* wlagent itself: the root of the command table, and the way from a command line to an exit code.
 *
 * Results go to standard output; errors to standard error, as "wlagent: what failed: why" and a
 * second line "hint: what to do next".
 */

/* The exit code: 0 done, 1 failed, 2 the command line is wrong. */
int program_run(int argc, char **argv);
