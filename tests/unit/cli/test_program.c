/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "suite.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/program.h"
#include "source/key_store.h"

/* A host with one key, and a configuration for it. */
static char directory[] = "/tmp/wlagent-test-program-XXXXXX";
static char config[64];

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *ftw) {
        (void)facts;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void set_up(void) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct key_file file = {.name = "web-1", .created = "2026-01-31T23:59:59Z"};
        struct wla_error err = {0};
        char path[64];

        memset(file.binding_key, 'a', sizeof(file.binding_key) - 1);
        ck_assert_ptr_nonnull(mkdtemp(directory));
        (void)snprintf(path, sizeof(path), "%s/keys", directory);
        ck_assert_int_eq(mkdir(path, 0700), 0);
        ck_assert_int_eq(key_store_open(directory, &store, &err), 0);
        ck_assert_int_eq(key_store_write(&store, &file, false, &err), 0);

        (void)snprintf(config, sizeof(config), "%s/wlagent.conf", directory);
        FILE *to = fopen(config, "we");
        ck_assert_ptr_nonnull(to);
        (void)fprintf(to, "[Agent]\nStateDirectory=%s\nRuntimeDirectory=%s\n", directory,
                      directory);
        ck_assert_int_eq(fclose(to), 0);
        ck_assert_int_eq(chmod(config, 0600), 0);
}

static void tear_down(void) {
        (void)nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define WORDS_MAX 10

/* In this process, with what it says going nowhere. */
static int run(const char *const *words) {
        static char copies[WORDS_MAX][64];
        static char *argv[WORDS_MAX + 1];
        int argc = 0;

        for (; words[argc]; argc++) {
                (void)snprintf(copies[argc], sizeof(copies[argc]), "%s", words[argc]);
                argv[argc] = copies[argc];
        }
        argv[argc] = NULL;
        return program_run(argc, argv);
}

#define COMMAND(...) \
        { "wlagent", "--config", config, __VA_ARGS__, NULL }

static const char *const commands[][WORDS_MAX] = {
        COMMAND("key", "list"),
        COMMAND("key", "list", "--json"),
        COMMAND("key", "show", "web-1"),
        COMMAND("key", "show", "web-1", "--json"),
        COMMAND("complete", "--", "key", "show", ""),
};

START_TEST(commands_survive_failing_allocations) {
        int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

        ck_assert_int_eq(dup2(nowhere, STDOUT_FILENO), STDOUT_FILENO);
        ck_assert_int_eq(dup2(nowhere, STDERR_FILENO), STDERR_FILENO);
        ck_assert_int_eq(run(commands[_i]), 0);

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                int outcome = run(commands[_i]);

                fail_allocation_disarm();
                ck_assert(outcome == 0 || outcome == 1);
                ck_assert(outcome == 1 || !fail_allocation_hit() ||
                          strcmp(commands[_i][3], "complete") == 0);
        }
        (void)close(nowhere);
}
END_TEST

START_TEST(exit_codes) {
        static const struct {
                const char *words[WORDS_MAX];
                int code;
        } lines[] = {
                {{"wlagent", "--version"}, 0},
                {{"wlagent", "key", "--help"}, 0},
                {{"wlagent"}, 2},
                {{"wlagent", "key", "fly"}, 2},
                {COMMAND("key", "show", "web-2"), 1},
                {COMMAND("key", "remove", "--force", "web-2"), 1},
                {COMMAND("status"), 1},
                {COMMAND("key", "remove", "--force", "web-1"), 0},
        };

        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
                ck_assert_int_eq(run(lines[i].words), lines[i].code);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("program");
        TCase *tcase = tcase_create("program");

        tcase_set_timeout(tcase, 60);
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_loop_test(tcase, commands_survive_failing_allocations, 0,
                            sizeof(commands) / sizeof(commands[0]));
        tcase_add_test(tcase, exit_codes);
        suite_add_tcase(suite, tcase);

        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
