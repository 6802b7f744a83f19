/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "volumed_double_directory.h"
#include "volumed_double_image.h"
#include "volumed_double_session.h"

void double_hang(void) {
        struct pollfd hangup = {.fd = double_session.fd, .events = POLLRDHUP};

        (void)poll(&hangup, 1, -1);
        _exit(EXIT_SUCCESS);
}

int double_inject(const char *operation, struct wla_error *err) {
        char name[32];
        char action[16];
        unsigned count = 1;
        FILE *file = fopen(double_path("fault", "", ""), "r");

        if (!file)
                return 0;
        int fields = fscanf(file, "%31s %15s %u", name, action, &count);
        (void)fclose(file);
        if (fields < 2 || strcmp(name, operation) != 0 || count == 0)
                return 0;
        if (fields == 3) {
                file = fopen(double_path("fault", "", ""), "w");
                if (!file)
                        double_die("fault");
                (void)fprintf(file, "%s %s %u\n", name, action, count - 1);
                (void)fclose(file);
        }

        double_note("FAULT", action);
        if (strcmp(action, "hang") == 0)
                double_hang();
        if (strcmp(action, "die") == 0)
                _exit(EXIT_FAILURE);
        double_session.late = strcmp(action, "late") == 0;
        double_session.lost = strcmp(action, "lost") == 0;
        double_session.slow = strcmp(action, "slow") == 0;
        if (double_session.late || double_session.lost || double_session.slow)
                return 0;
        if (strcmp(action, "busy") == 0)
                return wla_fail(err, WLA_E_BUSY, "the mapping is there already");
        if (strcmp(action, "replaced") == 0)
                return double_replace(double_session.path, double_directory, err);
        return wla_fail(err, WLA_E_DENIED, "refused by the test");
}
