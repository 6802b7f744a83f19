/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "fail_allocation.h"
#include "image/pending_file.h"
#include "scratch.h"

int __real_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, ...);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);

/* What a file system may lack: files without a name, names for them later, rename() that does not replace,
 * and link(). */
#define NO_UNNAMED    1
#define NO_LATER_NAME 2
#define NO_FLAGS      4
#define NO_LINK       8
static int lacks;

int __wrap_openat64(int fd, const char *path, int flags, ...) {
        va_list args;

        va_start(args, flags);
        mode_t mode = va_arg(args, mode_t);
        va_end(args);
        if ((lacks & NO_UNNAMED) && (flags & O_TMPFILE) == O_TMPFILE) {
                errno = EOPNOTSUPP;
                return -1;
        }
        return __real_openat64(fd, path, flags, mode);
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
        if ((lacks & NO_LINK) || ((lacks & NO_LATER_NAME) && (flags & AT_SYMLINK_FOLLOW))) {
                errno = EINVAL;
                return -1;
        }
        return __real_linkat(from_fd, from, to_fd, to, flags);
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
        if ((lacks & NO_FLAGS) && flags) {
                errno = EINVAL;
                return -1;
        }
        return __real_renameat2(from_fd, from, to_fd, to, flags);
}

static size_t count_files(const struct scratch *scratch) {
        DIR *directory = opendir(scratch->path);
        size_t count = 0;

        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
        (void)closedir(directory);
        return count;
}

static char content_of(const char *path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        char byte = 0;

        ck_assert_int_eq(read(fd, &byte, 1), 1);
        (void)close(fd);
        return byte;
}

static void write_byte(struct pending_file *file, char byte) {
        ck_assert_int_eq(write(file->fd, &byte, 1), 1);
}

/* Whatever the file system lacks. */
START_TEST(a_name_comes_at_the_end) {
        struct scratch scratch;
        char path[320];
        struct wla_error err = {0};
        struct pending_file file;

        lacks = _i;
        scratch_make(&scratch);
        (void)snprintf(path, sizeof(path), "%s", scratch_file(&scratch, "image"));
        ck_assert_int_eq(pending_file_open(path, 0600, &file, &err), 0);
        write_byte(&file, 'a');
        ck_assert_uint_eq(count_files(&scratch), lacks & (NO_UNNAMED | NO_LATER_NAME) ? 1 : 0);
        ck_assert_int_eq(access(path, F_OK), -1);
        ck_assert_int_eq(pending_file_publish(&file, false, &err), 0);
        pending_file_clear(&file);
        ck_assert_int_eq(content_of(path), 'a');
        ck_assert_uint_eq(count_files(&scratch), 1);

        ck_assert_int_eq(pending_file_open(path, 0600, &file, &err), 0);
        write_byte(&file, 'b');
        ck_assert_int_eq(pending_file_publish(&file, false, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_int_eq(content_of(path), 'a');
        ck_assert_int_eq(pending_file_publish(&file, true, &err), 0);
        pending_file_clear(&file);
        ck_assert_int_eq(content_of(path), 'b');
        ck_assert_uint_eq(count_files(&scratch), 1);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(what_is_not_published_is_gone) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct pending_file file;

        lacks = _i;
        scratch_make(&scratch);
        ck_assert_int_eq(pending_file_open(scratch_file(&scratch, "image"), 0600, &file, &err), 0);
        write_byte(&file, 'a');
        pending_file_clear(&file);
        ck_assert_uint_eq(count_files(&scratch), 0);
        pending_file_clear(&file);
        scratch_remove(&scratch);
}
END_TEST

/* Without link() and such a rename() nothing gets a name that may be taken. */
START_TEST(a_name_that_cannot_be_given_is_an_error) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct pending_file file;

        lacks = NO_FLAGS | NO_LINK;
        scratch_make(&scratch);
        ck_assert_int_eq(pending_file_open(scratch_file(&scratch, "image"), 0600, &file, &err), 0);
        ck_assert_int_eq(pending_file_publish(&file, false, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        pending_file_clear(&file);
        ck_assert_uint_eq(count_files(&scratch), 0);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(places_that_are_none) {
        static const struct {
                const char *path;
                enum wla_code code;
        } cases[] = {
                {"/nonexistent/image", WLA_E_NOT_FOUND},
                {"/tmp/", WLA_E_INPUT},
                {"/tmp/.", WLA_E_INPUT},
                {"/tmp/..", WLA_E_INPUT},
                {"", WLA_E_INPUT},
                {"/dev/null/image", WLA_E_SYSTEM},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct pending_file file;
                struct wla_error err = {0};

                ck_assert_int_eq(pending_file_open(cases[i].path, 0600, &file, &err), -1);
                ck_assert_int_eq(err.code, cases[i].code);
        }
}
END_TEST

START_TEST(failed_allocations_are_errors) {
        struct scratch scratch;
        char path[320];

        scratch_make(&scratch);
        (void)snprintf(path, sizeof(path), "%s", scratch_file(&scratch, "image"));
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct pending_file file = PENDING_FILE;
                struct wla_error err = {0};
                int outcome = pending_file_open(path, 0600, &file, &err);

                fail_allocation_disarm();
                pending_file_clear(&file);
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
        }
        scratch_remove(&scratch);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("pending_file");
        TCase *tcase = tcase_create("pending_file");

        tcase_add_loop_test(tcase, a_name_comes_at_the_end, 0, NO_LINK);
        tcase_add_loop_test(tcase, what_is_not_published_is_gone, 0, NO_LINK);
        tcase_add_test(tcase, a_name_that_cannot_be_given_is_an_error);
        tcase_add_test(tcase, places_that_are_none);
        tcase_add_test(tcase, failed_allocations_are_errors);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
