/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* wlagent-vm, the one program that is linked with libvirt, so that the others run without it.
 *
 * It lies in the directory LIBEXECDIR/wlagent, or in the one that the environment variable
 * WLAGENT_LIBEXEC names.
 */

#include "cli/command.h"

/* Becomes "wlagent-vm [--config FILE] vm COMMAND ..." with these arguments.  Returns only when it
 * cannot, with err set: WLA_E_NOT_FOUND when it is not installed. */
void vm_program_become(const struct invocation *invocation, const struct command *command,
                       const struct arguments *arguments, struct wla_error *err);
