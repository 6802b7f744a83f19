/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "cli/command.h"

static const struct command *const subcommands[] = {
        &command_kbs_create,
        NULL,
};

const struct command command_kbs = {
        .name = "kbs",
        .summary = "Keys in Intel SecL's key broker, as the owner of images",
        .details = "Where KBS is, and as whom, is in ~/.config/wlagent/owner.conf, see "
                   "wlagent-owner.conf(5).\nNeither root nor a TPM nor wlagentd is needed.",
        .operand = OPERAND_WORDS,
        .subcommands = subcommands,
};
