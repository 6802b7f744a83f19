/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"

static char written[4096];

static void capture(int level, void (*log)(void)) {
        int ends[2];
        int saved = dup(STDERR_FILENO);

        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
        log_open(level);
        log();
        (void)dup2(saved, STDERR_FILENO);
        (void)close(ends[1]);
        (void)close(saved);

        ssize_t size = read(ends[0], written, sizeof(written) - 1);
        written[size > 0 ? size : 0] = '\0';
        (void)close(ends[0]);
}

static void log_with_fields(void) {
        const struct log_field fields[] = {
                {"WLA_KEY_ID", "local:///k"}, {"WLA_LEFT_OUT", NULL}, {"WLA_PEER_UID", "0"}, {0}};

        log_event(LOG_NOTICE, LOG_ID_KEY_RELEASED, fields, "released %s", "a\nforged line");
        log_line(LOG_DEBUG, "not written");
}

static void log_debug(void) {
        log_line(LOG_DEBUG, "now written");
}

START_TEST(one_event_is_one_line) {
        capture(LOG_INFO, log_with_fields);
        ck_assert_str_eq(written, "released a?forged line WLA_KEY_ID=local:///k WLA_PEER_UID=0\n");
        capture(LOG_DEBUG, log_debug);
        ck_assert_str_eq(written, "now written\n");
}
END_TEST

SUITE_MAIN("log", one_event_is_one_line)
