/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_systemctl.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/other_program.h"

#define RUN_USEC   (UINT64_C(90) * USEC_PER_SEC)
#define NOT_LOADED 5 /* systemctl(1), "EXIT STATUS": of a unit that is not loaded */
#define WORD_SIZE  64u

static int run_systemctl(const char *verb, const char *unit, int *ret_code, struct wla_error *err) {
        char path[PATH_MAX];
        char words[2][WORD_SIZE];

        if (other_program_find("systemctl", path, err) < 0)
                return -1;
        (void)snprintf(words[0], sizeof(words[0]), "%s", verb);
        (void)snprintf(words[1], sizeof(words[1]), "%s", unit ? unit : "");
        char *const argv[] = {path, words[0], unit ? words[1] : NULL, NULL};
        return other_program_run(argv, RUN_USEC, ret_code, err);
}

static int fail(const char *verb, const char *unit, struct wla_error *err) {
        return wla_fail(err, WLA_E_SYSTEM, "'systemctl %s%s%s' has failed", verb, unit ? " " : "",
                        unit ? unit : "");
}

int migrate_systemctl(const struct host_root *root, const char *verb, const char *unit,
                      struct wla_error *err) {
        int code;

        if (!root->running)
                return 0;
        if (run_systemctl(verb, unit, &code, err) < 0)
                return -1;
        return code == 0 ? 0 : fail(verb, unit, err);
}

int migrate_systemctl_stop(const struct host_root *root, const char *unit, struct wla_error *err) {
        int code;

        if (!root->running)
                return 0;
        if (run_systemctl("stop", unit, &code, err) < 0)
                return -1;
        return code == 0 || code == NOT_LOADED ? 0 : fail("stop", unit, err);
}

/* 'systemctl is-active' has no code of its own for a service that waits for its next start. */
int migrate_systemctl_runs(const struct host_root *root, const char *unit, bool *ret,
                           struct wla_error *err) {
        char verb[] = "show";
        char property[] = "--property=ActiveState";
        char value[] = "--value";
        char name[WORD_SIZE];
        char path[PATH_MAX];
        char state[WORD_SIZE];
        char *const argv[] = {path, verb, property, value, name, NULL};

        *ret = false;
        if (!root->running)
                return 0;
        (void)snprintf(name, sizeof(name), "%s", unit);
        if (other_program_find("systemctl", path, err) < 0 ||
            other_program_first_line(argv, RUN_USEC, state, sizeof(state), err) < 0)
                return -1;
        if (state[0] == '\0')
                return wla_fail(err, WLA_E_SYSTEM, "systemctl does not tell whether %s runs", unit);
        *ret = strcmp(state, "inactive") != 0 && strcmp(state, "failed") != 0;
        return 0;
}
