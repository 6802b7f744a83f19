/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/confirm.h"

#include <stdio.h>
#include <unistd.h>

int confirm(const char *question, const char *kept, struct wla_error *err) {
        char answer[8] = {0};

        if (!isatty(STDIN_FILENO))
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "add --force to remove it without a question",
                                     "%s: there is no terminal to ask on", kept);

        (void)printf("%s [y/N] ", question);
        (void)fflush(stdout);

        if (read(STDIN_FILENO, answer, sizeof(answer) - 1) > 0 &&
            (answer[0] == 'y' || answer[0] == 'Y'))
                return 0;

        return wla_fail(err, WLA_E_INPUT, "%s", kept);
}
