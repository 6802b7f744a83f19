/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fail_allocation.h"
#include "scratch.h"
#include "suite.h"

static void check_error(const struct wla_error *err, enum wla_code code, const char *reason,
                        const char *path) {
        char text[512];

        (void)snprintf(text, sizeof(text), "socket %s: %s", path, reason);
        ck_assert_int_eq(err->code, code);
        ck_assert_str_eq(wla_error_text(err), text);
}

static struct unix_socket listen_at(const char *path) {
        struct wla_error err = {0};
        struct unix_socket made = UNIX_SOCKET_NONE;

        ck_assert_msg(unix_socket_listen(path, SOCK_STREAM, 0660, &made, &err) == 0, "%s",
                      wla_error_text(&err));
        return made;
}

static int try_connect(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        memcpy(address.sun_path, path, strlen(path));
        int r = connect(fd, (struct sockaddr *)&address, sizeof(address));
        int errno_value = r < 0 ? errno : 0;
        (void)close(fd);
        return errno_value;
}

static mode_t mode_of(const char *path) {
        struct stat status;

        ck_assert_int_eq(lstat(path, &status), 0);
        ck_assert(S_ISSOCK(status.st_mode));
        return status.st_mode & 07777;
}

START_TEST(listens_with_the_mode_asked_for_whatever_the_umask) {
        static const mode_t umasks[] = {0, 022, 077};
        struct scratch scratch;

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "s");
        for (size_t i = 0; i < sizeof(umasks) / sizeof(umasks[0]); i++) {
                (void)umask(umasks[i]);
                struct unix_socket made = listen_at(path);

                ck_assert_int_eq(mode_of(path), 0660);
                ck_assert_int_eq(try_connect(path), 0);
                ck_assert_int_ne(fcntl(made.fd, F_GETFD) & FD_CLOEXEC, 0);
                ck_assert_int_ne(fcntl(made.fd, F_GETFL) & O_NONBLOCK, 0);
                unix_socket_close(&made);
                ck_assert_int_eq(access(path, F_OK), -1);
        }
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_dead_process_socket_is_replaced) {
        struct scratch scratch;

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "s");
        struct unix_socket dead = listen_at(path);
        (void)close(dead.fd);
        ck_assert_int_eq(try_connect(path), ECONNREFUSED);

        struct unix_socket made = listen_at(path);
        ck_assert_int_eq(try_connect(path), 0);
        unix_socket_close(&made);
        free(dead.path);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_live_socket_is_left_alone) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct unix_socket second = UNIX_SOCKET_NONE;

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "s");
        struct unix_socket first = listen_at(path);
        ck_assert_int_eq(unix_socket_listen(path, SOCK_STREAM, 0660, &second, &err), -1);
        check_error(&err, WLA_E_BUSY, "another wlagentd serves it", path);
        ck_assert_ptr_nonnull(err.hint);
        ck_assert_int_eq(try_connect(path), 0);
        unix_socket_close(&first);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_live_socket_of_another_type_is_left_alone) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct unix_socket second = UNIX_SOCKET_NONE;

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "s");
        struct unix_socket first = listen_at(path);
        ck_assert_int_eq(unix_socket_listen(path, SOCK_SEQPACKET, 0660, &second, &err), -1);
        check_error(&err, WLA_E_BUSY, "another wlagentd serves it", path);
        unix_socket_close(&first);

        ck_assert_int_eq(unix_socket_listen(path, SOCK_SEQPACKET, 0660, &second, &err), 0);
        ck_assert_int_eq(try_connect(path), EPROTOTYPE);
        unix_socket_close(&second);
        scratch_remove(&scratch);
}
END_TEST

/* Anybody who can look into the directory can lock it. */
START_TEST(other_users_cannot_keep_it_from_starting) {
        struct scratch scratch;
        struct stat status;
        char lock[400];

        (void)umask(0);
        scratch_make(&scratch);
        int fd = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(flock(fd, LOCK_EX), 0);
        struct unix_socket made = listen_at(scratch_file(&scratch, "s"));
        (void)snprintf(lock, sizeof(lock), "%s.lock", made.path);
        ck_assert_int_eq(lstat(lock, &status), 0);
        ck_assert_int_eq(status.st_mode & 07777, 0600);
        unix_socket_close(&made);
        (void)close(fd);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(another_starting_daemon_is_not_disturbed) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct unix_socket made = UNIX_SOCKET_NONE;
        char lock[400];

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "s");
        made = listen_at(path);
        unix_socket_close(&made);
        (void)snprintf(lock, sizeof(lock), "%s.lock", path);
        int fd = open(lock, O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(flock(fd, LOCK_EX), 0);
        ck_assert_int_eq(unix_socket_listen(path, SOCK_STREAM, 0660, &made, &err), -1);
        check_error(&err, WLA_E_BUSY, "another wlagentd is starting there", path);
        (void)close(fd);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_file_in_its_place_is_not_removed) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct unix_socket made = UNIX_SOCKET_NONE;

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "s");
        (void)close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        ck_assert_int_eq(unix_socket_listen(path, SOCK_STREAM, 0660, &made, &err), -1);
        check_error(&err, WLA_E_INPUT, "something else than a socket is in its place", path);
        ck_assert_int_eq(access(path, F_OK), 0);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_missing_directory_has_a_remedy) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct unix_socket made = UNIX_SOCKET_NONE;

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "none/s");
        ck_assert_int_eq(unix_socket_listen(path, SOCK_STREAM, 0660, &made, &err), -1);
        check_error(&err, WLA_E_SYSTEM, "opening its lock file: No such file or directory", path);
        ck_assert_ptr_nonnull(err.hint);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(a_path_that_does_not_fit_is_refused) {
        struct wla_error err = {0};
        struct unix_socket made = UNIX_SOCKET_NONE;
        char path[109];

        memset(path, 'x', sizeof(path) - 1);
        path[0] = '/';
        path[sizeof(path) - 1] = '\0';
        ck_assert_int_eq(unix_socket_listen(path, SOCK_STREAM, 0660, &made, &err), -1);
        check_error(&err, WLA_E_INPUT, "the path has 108 characters, 1 to 107 fit", path);
        ck_assert_int_eq(unix_socket_listen("", SOCK_STREAM, 0660, &made, &err), -1);
        check_error(&err, WLA_E_INPUT, "the path has 0 characters, 1 to 107 fit", "");
}
END_TEST

START_TEST(what_has_replaced_it_is_not_removed) {
        struct scratch scratch;

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "s");
        struct unix_socket first = listen_at(path);
        ck_assert_int_eq(unlink(path), 0);
        (void)close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        unix_socket_close(&first);
        ck_assert_int_eq(access(path, F_OK), 0);
        scratch_remove(&scratch);
}
END_TEST

/* Puts fds where systemd would; the test process is a fork of its own. */
static void hand_over(const char *names, int count) {
        char text[16];

        (void)snprintf(text, sizeof(text), "%d", (int)getpid());
        (void)setenv("LISTEN_PID", text, 1);
        (void)snprintf(text, sizeof(text), "%d", count);
        (void)setenv("LISTEN_FDS", text, 1);
        (void)setenv("LISTEN_FDNAMES", names, 1);
}

START_TEST(sockets_of_systemd_are_found_by_name) {
        struct scratch scratch;
        struct wla_error err = {0};
        struct unix_socket inherited = UNIX_SOCKET_NONE;

        scratch_make(&scratch);
        struct unix_socket one = listen_at(scratch_file(&scratch, "one"));
        struct unix_socket two = listen_at(scratch_file(&scratch, "two"));
        struct unix_socket three = listen_at(scratch_file(&scratch, "three"));
        int copies[3] = {fcntl(one.fd, F_DUPFD, 20), fcntl(two.fd, F_DUPFD, 20),
                         fcntl(three.fd, F_DUPFD, 20)};
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(dup2(copies[i], 3 + i), 3 + i);
        (void)fcntl(4, F_SETFL, 0);
        hand_over("keyprovider:control:keyprovider", 3);

        ck_assert_int_eq(unix_socket_inherit("control", SOCK_STREAM, &inherited, &err), 0);
        ck_assert_int_eq(inherited.fd, 4);
        ck_assert_ptr_null(inherited.path);
        ck_assert_int_ne(fcntl(4, F_GETFL) & O_NONBLOCK, 0);
        ck_assert_int_ne(fcntl(4, F_GETFD) & FD_CLOEXEC, 0);

        ck_assert_int_eq(unix_socket_inherit("other", SOCK_STREAM, &inherited, &err), 0);
        ck_assert_int_eq(inherited.fd, -1);

        ck_assert_int_eq(unix_socket_inherit("keyprovider", SOCK_STREAM, &inherited, &err), -1);
        ck_assert_str_eq(wla_error_text(&err),
                         "systemd hands over several sockets named keyprovider");
        free(one.path);
        free(two.path);
        free(three.path);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(without_systemd_nothing_is_handed_over) {
        struct wla_error err = {0};
        struct unix_socket inherited = {.fd = 99};

        (void)unsetenv("LISTEN_FDS");
        ck_assert_int_eq(unix_socket_inherit("control", SOCK_STREAM, &inherited, &err), 0);
        ck_assert_int_eq(inherited.fd, -1);
        unix_socket_close(&inherited);
}
END_TEST

START_TEST(what_is_no_listening_socket_is_refused) {
        struct wla_error err = {0};
        struct unix_socket inherited = UNIX_SOCKET_NONE;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        ck_assert_int_eq(dup2(fd, 3), 3);
        hand_over("control", 1);
        ck_assert_int_eq(unix_socket_inherit("control", SOCK_STREAM, &inherited, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_str_eq(wla_error_text(&err), "what systemd hands over as control is no "
                                               "listening unix stream socket");

        struct scratch scratch;
        scratch_make(&scratch);
        struct unix_socket stream = listen_at(scratch_file(&scratch, "s"));
        ck_assert_int_eq(dup2(stream.fd, 3), 3);
        ck_assert_int_eq(unix_socket_inherit("control", SOCK_SEQPACKET, &inherited, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "what systemd hands over as control is no "
                                               "listening unix seqpacket socket");
        unix_socket_close(&stream);
        scratch_remove(&scratch);
}
END_TEST

START_TEST(every_allocation_may_fail) {
        struct scratch scratch;
        struct wla_error err = {0};

        scratch_make(&scratch);
        const char *path = scratch_file(&scratch, "s");
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct unix_socket made = UNIX_SOCKET_NONE;
                int r = unix_socket_listen(path, SOCK_STREAM, 0660, &made, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(r, fail_allocation_hit() ? -1 : 0);
                unix_socket_close(&made);
                ck_assert_int_eq(access(path, F_OK), -1);
        }
        scratch_remove(&scratch);
}
END_TEST

SUITE_MAIN("unix_socket", listens_with_the_mode_asked_for_whatever_the_umask,
           a_dead_process_socket_is_replaced, a_live_socket_is_left_alone,
           a_live_socket_of_another_type_is_left_alone, another_starting_daemon_is_not_disturbed,
           other_users_cannot_keep_it_from_starting, a_file_in_its_place_is_not_removed,
           a_missing_directory_has_a_remedy, a_path_that_does_not_fit_is_refused,
           what_has_replaced_it_is_not_removed, sockets_of_systemd_are_found_by_name,
           without_systemd_nothing_is_handed_over, what_is_no_listening_socket_is_refused,
           every_allocation_may_fail)
