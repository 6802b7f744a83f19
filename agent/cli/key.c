/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "cli/command.h"

static const struct command *const subcommands[] = {
        &command_key_create,
        &command_key_import,
        &command_key_wrap,
        &command_key_list,
        &command_key_show,
        &command_key_remove,
        NULL,
};

const struct command command_key = {
        .name = "key",
        .summary = "Make, bring in, list and remove the keys of images",
        .details = "A key lies in the store of this host wrapped to the binding key in its TPM; "
                   "nothing else opens it.",
        .operand = OPERAND_WORDS,
        .subcommands = subcommands,
};
