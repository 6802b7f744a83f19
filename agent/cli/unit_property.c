/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/unit_property.h"

#include <stdio.h>

#include "base/clock.h"
#include "cli/other_program.h"

#define ANSWER_USEC (UINT64_C(5) * USEC_PER_SEC)

void unit_property(const char *unit, const char *property, char *to, size_t size) {
        char path[PATH_MAX];
        char what[64];
        char name[64];
        char command[] = "show";
        char value[] = "--value";
        char format[] = "--timestamp=unix";
        char *const argv[] = {path, command, what, value, format, name, NULL};
        struct wla_error ignored = {0};

        (void)snprintf(what, sizeof(what), "--property=%s", property);
        (void)snprintf(name, sizeof(name), "%s", unit);
        if (other_program_find("systemctl", path, &ignored) < 0 ||
            other_program_first_line(argv, ANSWER_USEC, to, size, &ignored) < 0)
                to[0] = '\0';
}
