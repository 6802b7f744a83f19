/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "cli/command.h"

static const struct command *const subcommands[] = {
        &command_setup,    &command_migrate,
        &command_status,   &command_metrics,
        &command_doctor,   &command_key,
        &command_image,    &command_kbs,
        &command_flavor,   &command_vm,
        &command_volume,   &command_keyprovider,
        &command_complete, NULL,
};

const struct command command_wlagent = {
        .name = "wlagent",
        .summary = "Open encrypted container images through this host's TPM",
        .operand = OPERAND_WORDS,
        .options = program_options,
        .subcommands = subcommands,
};
