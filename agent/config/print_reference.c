/* SPDX-License-Identifier: Apache-2.0 */

/* Build tool: prints the sample file, or the body of wlagent.conf(5). */

#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int main(int argc, char **argv) {
        if (argc == 2 && strcmp(argv[1], "sample") == 0)
                return config_write_sample(stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        if (argc == 2 && strcmp(argv[1], "manual") == 0)
                return config_write_manual(stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;

        (void)fprintf(stderr, "usage: print-reference sample|manual\n");
        return EXIT_FAILURE;
}
