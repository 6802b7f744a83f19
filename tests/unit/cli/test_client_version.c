/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/client_version.h"

#define LIMIT_USEC (10 * USEC_PER_SEC)

static char directory[] = "/tmp/wlagent-test-path-XXXXXX";

static void set_up(void) {
        ck_assert_ptr_nonnull(mkdtemp(directory));
        ck_assert_int_eq(setenv("PATH", directory, 1), 0);
}

static void tear_down(void) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/client", directory);
        (void)unlink(path);
        (void)rmdir(directory);
}

static void put_script(const char *text) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/client", directory);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        (void)close(fd);
}

START_TEST(runs_and_looks_inside) {
        struct wla_error err = {0};
        struct client client;

        put_script("#!/bin/sh\n# OCICRYPT_KEYPROVIDER_CONFIG\n"
                   "[ \"$1\" = --version ] && printf 'client \\t1.2.3\\nmore\\n'\n");
        ck_assert_int_eq(client_find("client", LIMIT_USEC, &client, &err), 0);
        ck_assert_str_eq(client.version, "client ?1.2.3");
        ck_assert(client.is_script);
        ck_assert(client.knows_keyproviders);

        put_script("#!/bin/sh\necho client of old\n");
        ck_assert_int_eq(client_find("client", LIMIT_USEC, &client, &err), 0);
        ck_assert_str_eq(client.version, "client of old");
        ck_assert(!client.knows_keyproviders);
}
END_TEST

START_TEST(takes_little_of_what_never_ends) {
        struct wla_error err = {0};
        struct client client;

        put_script("#!/bin/sh\nwhile :; do printf xxxxxxxxxxxxxxxx; done\n");
        ck_assert_int_eq(client_find("client", LIMIT_USEC, &client, &err), 0);
        ck_assert_uint_eq(strlen(client.version), CLIENT_VERSION_MAX - 1);
}
END_TEST

START_TEST(does_not_wait_for_ever) {
        struct wla_error err = {0};
        struct client client;

        put_script("#!/bin/sh\nexec /bin/sleep 100\n");
        ck_assert_int_eq(client_find("client", USEC_PER_SEC / 20, &client, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
}
END_TEST

START_TEST(missing_ones_are_not_found) {
        struct wla_error err = {0};
        struct client client;

        ck_assert_int_eq(client_find("client", LIMIT_USEC, &client, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_str_eq(wla_error_text(&err), "client is not installed");
        ck_assert_int_eq(setenv("PATH", "", 1), 0);
        ck_assert_int_eq(client_find("client", LIMIT_USEC, &client, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
}
END_TEST

START_TEST(numbers_are_found_in_lines) {
        ck_assert_uint_eq(client_version_number("skopeo version 1.18.0"), 1018000);
        ck_assert_uint_eq(client_version_number(
                                  "containerd github.com/containerd/containerd v1.7.24~ds1 1.7.24"),
                          1007024);
        ck_assert_uint_eq(client_version_number("x 64 2.1.6"), 2001006);
        ck_assert_uint_eq(client_version_number("1.2"), 0);
        ck_assert_uint_eq(client_version_number(""), 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("client_version");
        TCase *tcase = tcase_create("client_version");

        tcase_set_timeout(tcase, 60);
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, runs_and_looks_inside);
        tcase_add_test(tcase, takes_little_of_what_never_ends);
        tcase_add_test(tcase, does_not_wait_for_ever);
        tcase_add_test(tcase, missing_ones_are_not_found);
        tcase_add_test(tcase, numbers_are_found_in_lines);
        suite_add_tcase(suite, tcase);

        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
