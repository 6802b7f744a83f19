/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/unit_property.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/other_program.h"

#define ANSWER_USEC (UINT64_C(5) * USEC_PER_SEC)

void unit_property(const char *unit, const char *property, char *to, size_t size) {
        char path[PATH_MAX];
        char what[64];
        char name[64];
        char command[] = "show";
        char value[] = "--value";
        char format[] = "--timestamp=us+utc";
        char *const argv[] = {path, command, what, value, format, name, NULL};
        struct wla_error ignored = {0};

        (void)snprintf(what, sizeof(what), "--property=%s", property);
        (void)snprintf(name, sizeof(name), "%s", unit);
        if (other_program_find("systemctl", path, &ignored) < 0 ||
            other_program_first_line(argv, ANSWER_USEC, to, size, &ignored) < 0)
                to[0] = '\0';
}

uint64_t unit_time_usec(const char *unit, const char *property) {
        char text[64];
        struct tm time = {0};
        unsigned usec = 0;
        int end = 0;

        unit_property(unit, property, text, sizeof(text));
        /* The name of the day says nothing new. */
        const char *rest = strptime(text + strcspn(text, " "), " %Y-%m-%d %H:%M:%S", &time);
        if (!rest || sscanf(rest, ".%6u UTC%n", &usec, &end) != 1 || end == 0)
                return 0;
        return (uint64_t)timegm(&time) * USEC_PER_SEC + usec;
}
