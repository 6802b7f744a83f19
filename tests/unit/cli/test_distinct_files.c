/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

#include <sys/stat.h>

#include "cli/distinct_files.h"

static struct scratch scratch;

/* The tests' names are relative to it. */
static void enter(void) {
        scratch_make(&scratch);
        ck_assert_int_eq(chdir(scratch.path), 0);
}

static void leave(void) {
        ck_assert_int_eq(chdir("/"), 0);
        scratch_remove(&scratch);
}

static void make(const char *name) {
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        (void)close(fd);
}

static int check_pair(const char *read, const char *written, struct wla_error *err) {
        const struct used_file files[] = {
                {.role = "IN", .path = read, .or_input = true},
                {.role = "none", .written = true},
                {.role = "OUT", .path = written, .written = true},
        };

        return distinct_files_check(files, 3, err);
}

static void ck_assert_one(const char *read, const char *written, const char *text) {
        struct wla_error err = {0};

        ck_assert_msg(check_pair(read, written, &err) == -1, "%s, %s", read, written);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_str_eq(wla_error_text(&err), text);
}

static void ck_assert_two(const char *read, const char *written) {
        struct wla_error err = {0};

        ck_assert_msg(check_pair(read, written, &err) == 0, "%s", wla_error_text(&err));
}

START_TEST(one_file_by_any_name) {
        char whole[128];
        char text[320];

        enter();
        make("a");
        make("b");
        ck_assert_int_eq(link("a", "hard"), 0);
        ck_assert_int_eq(symlink("a", "soft"), 0);
        (void)snprintf(whole, sizeof(whole), "%s/a", scratch.path);
        (void)snprintf(text, sizeof(text), "IN and OUT would be one file: a and %s", whole);
        ck_assert_one("a", "a", "IN and OUT would be one file: a and a");
        ck_assert_one("./a", "a", "IN and OUT would be one file: ./a and a");
        ck_assert_one("a", whole, text);
        ck_assert_one("a", "hard", "IN and OUT would be one file: a and hard");
        ck_assert_one("a", "soft", "IN and OUT would be one file: a and soft");
        ck_assert_one("soft", "a", "IN and OUT would be one file: soft and a");
        ck_assert_two("a", "b");
        ck_assert_two("b", "soft");
        ck_assert_two(NULL, "a");
        ck_assert_two("a", NULL);
        leave();
}
END_TEST

START_TEST(one_name_in_one_directory) {
        enter();
        ck_assert_int_eq(symlink(".", "here"), 0);
        ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
        ck_assert_one("new", "new", "IN and OUT would be one file: new and new");
        ck_assert_one("new", "here/new", "IN and OUT would be one file: new and here/new");
        ck_assert_one("dangling", "./dangling",
                      "IN and OUT would be one file: dangling and ./dangling");
        ck_assert_one("/new", "//new", "IN and OUT would be one file: /new and //new");
        ck_assert_two("new", "newer");
        ck_assert_two("new", "/new");
        ck_assert_two("dangling", "nowhere");
        ck_assert_one("none/a", "none/a", "IN and OUT would be one file: none/a and none/a");
        ck_assert_two("none/a", "none/b");
        ck_assert_two("none/a", "none/./a");
        leave();
}
END_TEST

START_TEST(standard_input) {
        const struct used_file is_name[] = {
                {.role = "IN", .path = "-"},
                {.role = "OUT", .path = "a", .written = true},
        };
        struct wla_error err = {0};

        enter();
        make("a");
        make("b");
        ck_assert_ptr_nonnull(freopen("a", "r", stdin));
        ck_assert_one("-", "a", "IN and OUT would be one file: standard input and a");
        ck_assert_two("-", "b");
        ck_assert_two("-", "-");
        ck_assert_int_eq(distinct_files_check(is_name, 2, &err), 0);
        leave();
}
END_TEST

START_TEST(what_is_only_read_may_be_one) {
        const struct used_file files[] = {
                {.role = "IN", .path = "a"},
                {.role = "--key-file", .path = "a"},
                {.role = "OUT", .path = "b", .written = true},
                {.role = "--flavor", .path = "b", .written = true},
        };
        struct wla_error err = {0};

        enter();
        make("a");
        ck_assert_int_eq(distinct_files_check(files, 3, &err), 0);
        ck_assert_int_eq(distinct_files_check(files, 4, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "OUT and --flavor would be one file: b and b");
        leave();
}
END_TEST

/* Who opens it says so. */
START_TEST(what_has_no_directory) {
        struct wla_error err = {0};

        enter();
        make("a");
        ck_assert_int_eq(check_pair("a/x", "a/y", &err), 0);
        ck_assert_int_eq(check_pair("none/x", "none/y", &err), 0);
        ck_assert_int_eq(check_pair("a/x", "a/x", &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        leave();
}
END_TEST

START_TEST(what_cannot_be_known) {
        struct wla_error err = {0};

        enter();
        make("a");
        ck_assert_int_eq(symlink("loop", "loop"), 0);
        ck_assert_int_eq(check_pair("loop", "b", &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "cannot look at loop: "));
        err = (struct wla_error){0};
        ck_assert_int_eq(check_pair("b", "loop/b", &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "cannot look at loop/b: "));
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                err = (struct wla_error){0};
                int outcome = check_pair("a", "b", &err);

                fail_allocation_disarm();
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                if (outcome < 0)
                        ck_assert_int_eq(err.code, WLA_E_BUSY);
        }
        leave();
}
END_TEST

SUITE_MAIN("distinct_files", one_file_by_any_name, one_name_in_one_directory, standard_input,
           what_is_only_read_may_be_one, what_has_no_directory, what_cannot_be_known)
