/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "volumed_double_directory.h"
#include "volumed_double_image.h"
#include "volumed_double_session.h"

#define FAULTS_MAX 4

void double_hang(void) {
        struct pollfd hangup = {.fd = double_session.fd, .events = POLLRDHUP};

        (void)poll(&hangup, 1, -1);
        _exit(EXIT_SUCCESS);
}

struct fault {
        char operation[32];
        char action[16];
        bool counted;
        unsigned count;
};

static size_t read_faults(struct fault faults[FAULTS_MAX]) {
        FILE *file = fopen(double_path("fault", "", ""), "r");
        char line[64];
        size_t count = 0;

        if (!file)
                return 0;
        while (count < FAULTS_MAX && fgets(line, sizeof(line), file)) {
                struct fault *fault = &faults[count];
                int fields = sscanf(line, "%31s %15s %u", fault->operation, fault->action,
                                    &fault->count);

                fault->counted = fields == 3;
                count += fields >= 2;
        }
        (void)fclose(file);
        return count;
}

static void write_faults(const struct fault *faults, size_t count) {
        FILE *file = fopen(double_path("fault", "", ""), "w");

        if (!file)
                double_die("fault");
        for (size_t i = 0; i < count; i++) {
                (void)fprintf(file, "%s %s", faults[i].operation, faults[i].action);
                (void)(faults[i].counted ? fprintf(file, " %u\n", faults[i].count)
                                         : fprintf(file, "\n"));
        }
        (void)fclose(file);
}

/* Of those in the file, and one less there when they are counted. */
static bool take_fault(const char *operation, char action[16]) {
        struct fault faults[FAULTS_MAX];
        size_t count = read_faults(faults);

        for (size_t i = 0; i < count; i++) {
                if (strcmp(faults[i].operation, operation) != 0)
                        continue;
                memcpy(action, faults[i].action, sizeof(faults[i].action));
                if (!faults[i].counted)
                        return true;
                if (faults[i].count == 0)
                        return false;
                faults[i].count--;
                write_faults(faults, count);
                return true;
        }
        return false;
}

int double_inject(const char *operation, struct wla_error *err) {
        char action[16];

        if (!take_fault(operation, action))
                return 0;
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
