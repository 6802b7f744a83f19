/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/openssl_memory.h"
#include "cli/command.h"
#include "cli/program.h"

int main(int argc, char **argv) {
        struct wla_error err = {0};

        if (openssl_memory_init(&err) < 0) {
                (void)fprintf(stderr, "wlagent: %s\n", wla_error_text(&err));
                return OUTCOME_FAILED;
        }
        return program_run(argc, argv);
}
