/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

static char directory[] = "/tmp/wlagent-file-XXXXXX";
static int dir_fd = -1;

static void make_directory(void) {
        struct wla_error err = {0};

        ck_assert_ptr_nonnull(mkdtemp(directory));
        ck_assert_int_eq(file_open_directory(directory, false, 0700, &dir_fd, &err), 0);
}

static void remove_directory(void) {
        static const char *const names[] = {"a", "link", "fifo", "sub"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                (void)unlinkat(dir_fd, names[i], 0);
        (void)unlinkat(dir_fd, "sub", AT_REMOVEDIR);
        /* Fails when a test has left something behind. */
        ck_assert_int_eq(rmdir(directory), 0);
        (void)close(dir_fd);
}

START_TEST(written_files_read_back) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(100);
        struct wla_error err = {0};
        struct stat status;

        make_directory();
        ck_assert_int_eq(file_write(dir_fd, "a", "first", 5, 0600, false, &err), 0);
        ck_assert_int_eq(file_write(dir_fd, "a", "again", 5, 0600, false, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "a exists already");
        ck_assert_int_eq(file_write(dir_fd, "a", "second", 6, 0640, true, &err), 0);
        ck_assert_int_eq(file_read(dir_fd, "a", &content, &err), 0);
        ck_assert_str_eq(buf_text(&content, &err), "second");
        ck_assert_int_eq(fstatat(dir_fd, "a", &status, 0), 0);
        ck_assert_uint_eq(status.st_mode & 07777, 0640);
        ck_assert_uint_eq(status.st_nlink, 1);
        remove_directory();
}
END_TEST

START_TEST(owner_follows_the_directory) {
        struct wla_error err = {0};
        struct stat status;

        if (geteuid() != 0)
                return;
        make_directory();
        ck_assert_int_eq(fchown(dir_fd, 65534, 65534), 0);
        ck_assert_int_eq(file_write(dir_fd, "a", "x", 1, 0600, false, &err), 0);
        ck_assert_int_eq(fstatat(dir_fd, "a", &status, 0), 0);
        ck_assert_uint_eq(status.st_uid, 65534);
        remove_directory();
}
END_TEST

START_TEST(an_owner_of_choice) {
        const struct wla_bytes x = {.data = (const uint8_t *)"x", .size = 1};
        struct wla_error err = {0};
        struct stat status;

        make_directory();
        ck_assert_int_eq(file_write_for(dir_fd, "a", x, 0640, (uid_t)-1, (gid_t)-1, &err), 0);
        ck_assert_int_eq(fstatat(dir_fd, "a", &status, 0), 0);
        ck_assert_uint_eq(status.st_uid, geteuid());
        ck_assert_uint_eq(status.st_mode & 07777, 0640);
        if (geteuid() == 0) {
                ck_assert_int_eq(file_write_for(dir_fd, "a", x, 0644, 65534, 65533, &err), 0);
                ck_assert_int_eq(fstatat(dir_fd, "a", &status, 0), 0);
                ck_assert_uint_eq(status.st_uid, 65534);
                ck_assert_uint_eq(status.st_gid, 65533);
                ck_assert_uint_eq(status.st_mode & 07777, 0644);
        }
        remove_directory();
}
END_TEST

START_TEST(only_regular_files_under_the_limit) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(4);
        struct wla_error err = {0};

        make_directory();
        ck_assert_int_eq(file_read(dir_fd, "a", &content, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);

        ck_assert_int_eq(file_write(dir_fd, "a", "12345", 5, 0600, false, &err), 0);
        ck_assert_int_eq(file_read(dir_fd, "a", &content, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "a is larger than 4 bytes");

        ck_assert_int_eq(symlinkat("a", dir_fd, "link"), 0);
        ck_assert_int_eq(file_read(dir_fd, "link", &content, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "link is a symbolic link");

        ck_assert_int_eq(mkfifoat(dir_fd, "fifo", 0600), 0);
        ck_assert_int_eq(file_read(dir_fd, "fifo", &content, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "fifo is not a regular file");

        ck_assert_int_eq(mkdirat(dir_fd, "sub", 0700), 0);
        ck_assert_int_eq(file_read(dir_fd, "sub", &content, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "sub is not a regular file");
        remove_directory();
}
END_TEST

START_TEST(what_somebody_has_named) {
        struct wla_error err = {0};
        int fd = -1;

        make_directory();
        ck_assert_int_eq(fchdir(dir_fd), 0);
        ck_assert_int_eq(file_open_named("a", &fd, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_str_eq(wla_error_text(&err), "a does not exist");
        ck_assert_int_eq(symlink("a", "a"), 0);
        ck_assert_int_eq(file_open_named("a", &fd, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_SYSTEM);
        ck_assert_int_eq(fd, -1);

        /* Nobody writes to that FIFO, and a link is followed. */
        ck_assert_int_eq(mkfifo("fifo", 0600), 0);
        ck_assert_int_eq(symlink("fifo", "link"), 0);
        ck_assert_int_eq(file_open_named("link", &fd, &err), 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        file_closep(&fd);
        ck_assert_int_eq(chdir("/"), 0);
        remove_directory();
}
END_TEST

START_TEST(others_may_not_change_a_trusted_file) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(16);
        struct wla_error err = {0};
        char path[64];
        mode_t mode;
        int fd;

        make_directory();
        (void)snprintf(path, sizeof(path), "%s/a", directory);
        ck_assert_int_eq(file_write(dir_fd, "a", "x", 1, 0644, false, &err), 0);
        ck_assert_int_eq(file_read_trusted(path, &content, &err), 0);
        ck_assert_int_eq(file_open_trusted(path, &fd, &mode, &err), 0);
        ck_assert_uint_eq(mode, 0644);
        (void)close(fd);
        ck_assert_int_eq(chmod(path, 0664), 0);
        ck_assert_int_eq(file_read_trusted(path, &content, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "may be changed by others (mode 0664)"));
        if (geteuid() == 0) {
                ck_assert_int_eq(chmod(path, 0644), 0);
                ck_assert_int_eq(chown(path, 65534, 65534), 0);
                ck_assert_int_eq(file_read_trusted(path, &content, &err), -1);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "belongs to user 65534"));
        }
        remove_directory();
}
END_TEST

/* A full disk: the old content stays, and no temporary file. */
START_TEST(a_failed_write_leaves_the_old_file) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(16);
        static char large[8192];
        struct wla_error err = {0};
        struct rlimit limit = {4096, 4096};

        make_directory();
        ck_assert_int_eq(file_write(dir_fd, "a", "old", 3, 0600, false, &err), 0);
        (void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        ck_assert_int_eq(file_write(dir_fd, "a", large, sizeof(large), 0600, true, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "cannot write a: File too large");
        ck_assert_int_eq(file_read(dir_fd, "a", &content, &err), 0);
        ck_assert_str_eq(buf_text(&content, &err), "old");
        remove_directory();
}
END_TEST

START_TEST(directories) {
        struct wla_error err = {0};
        char path[64];
        int fd = -1;

        make_directory();
        (void)snprintf(path, sizeof(path), "%s/sub", directory);
        ck_assert_int_eq(file_open_directory(path, false, 0700, &fd, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_int_eq(file_open_directory(path, true, 0700, &fd, &err), 0);
        (void)close(fd);
        ck_assert_int_eq(file_open_directory(path, true, 0700, &fd, &err), 0);
        (void)close(fd);
        ck_assert_int_eq(file_open_directory("/proc/none/x", true, 0700, &fd, &err), -1);
        ck_assert_int_eq(file_write(-1, "a", "x", 1, 0600, false, &err), -1);
        remove_directory();
}
END_TEST

START_TEST(ownership_is_handed_over) {
        int fd = 7;
        int taken = TAKE_FD(fd);
        char *text = strdup("x");
        char *taken_text = TAKE_PTR(text);

        ck_assert_int_eq(taken, 7);
        ck_assert_int_eq(fd, -1);
        ck_assert_ptr_null(text);
        file_freep(&taken_text);
        ck_assert_ptr_null(taken_text);
}
END_TEST

SUITE_MAIN("file", written_files_read_back, owner_follows_the_directory, an_owner_of_choice,
           only_regular_files_under_the_limit, what_somebody_has_named,
           others_may_not_change_a_trusted_file, a_failed_write_leaves_the_old_file, directories,
           ownership_is_handed_over)
