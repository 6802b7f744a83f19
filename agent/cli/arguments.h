/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The command line of one command, against its row in the table.
 *
 * Long options, a few of which have a letter too, in any order with the operand; each at most once.  The operand of a command that
 * has one is required.
 */

#include "cli/command.h"

/* Sets *ret_help and nothing else when --help is among them.  OUTCOME_USAGE with err otherwise.
 * argv[0] is the command's name. */
enum outcome arguments_parse(const struct command *command, int argc, char **argv,
                             struct arguments *ret, bool *ret_help,
                             struct wla_error *err) _must_check_;
