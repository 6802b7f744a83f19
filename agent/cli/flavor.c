/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "cli/command.h"

static const struct command *const subcommands[] = {
        &command_flavor_create,
        NULL,
};

const struct command command_flavor = {
        .name = "flavor",
        .summary = "Flavors of images, as their owner: what Intel SecL's WLS knows an image by",
        .details = "Neither root nor a TPM nor wlagentd is needed.",
        .operand = OPERAND_WORDS,
        .subcommands = subcommands,
};
