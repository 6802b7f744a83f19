/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdio.h>

#include "cli/program.h"
#include "cli/vm.h"
#include "vm_admin/connection.h"
#include "vm_admin/openssl_first.h"

/* The part of wlagent's table that this program carries out. */
static const struct command *const subcommands[] = {
        &command_vm,
        NULL,
};

const struct command command_wlagent = {
        .name = "wlagent",
        .summary = "Run libvirt's domains from encrypted images",
        .operand = OPERAND_WORDS,
        .options = program_options,
        .subcommands = subcommands,
};

int main(int argc, char **argv) {
        struct wla_error err = {0};

        if (openssl_first(&err) < 0 || connection_library_init(&err) < 0) {
                (void)fprintf(stderr, "wlagent: %s\n", wla_error_text(&err));
                return OUTCOME_FAILED;
        }
        return program_run(argc, argv);
}
