/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "cli/command.h"

static const struct command *const subcommands[] = {
        &command_image_encrypt,  &command_image_info,
        &command_image_verify,   &command_image_decrypt,
        &command_image_register, &command_image_unregister,
        &command_image_list,     NULL,
};

const struct command command_image = {
        .name = "image",
        .summary = "Encrypt the disks of virtual machines, and look at them",
        .details = "An image is two files: FILE is ciphertext, FILE.header says under which key.\n"
                   "Neither root nor wlagentd is needed for whoever has the key itself.",
        .operand = OPERAND_WORDS,
        .subcommands = subcommands,
};
