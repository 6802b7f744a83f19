/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/image_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/value.h"
#include "suite.h"

#define PATH_SIZE 512u

/* A tree: root/ with the images, outside/ with what must not be reached. */
struct tree {
        char path[64];
        char root[PATH_SIZE];
        char outside[PATH_SIZE];
        struct config_paths roots;
};

static void make_file(const char *directory, const char *name, const char *text) {
        char path[2 * PATH_SIZE];
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
        file = fopen(path, "we");
        ck_assert_ptr_nonnull(file);
        (void)fputs(text, file);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(chmod(path, 0644), 0);
}

static void make_directory(const char *directory, const char *name) {
        char path[2 * PATH_SIZE];

        (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
        ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void make_link(const struct tree *tree, const char *name, const char *target) {
        char path[2 * PATH_SIZE];

        (void)snprintf(path, sizeof(path), "%s/%s", tree->root, name);
        ck_assert_int_eq(symlink(target, path), 0);
}

static void tree_make(struct tree *tree) {
        struct wla_error err = {0};

        (void)snprintf(tree->path, sizeof(tree->path), "/tmp/wlagent-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(tree->path));
        make_directory(tree->path, "root");
        make_directory(tree->path, "outside");
        (void)snprintf(tree->root, sizeof(tree->root), "%s/root", tree->path);
        (void)snprintf(tree->outside, sizeof(tree->outside), "%s/outside", tree->path);
        make_directory(tree->root, "sub");
        make_file(tree->root, "a.img", "image a");
        make_file(tree->root, "sub/b.img", "image b");
        make_file(tree->root, "sub/b.img.header", "header b");
        make_file(tree->outside, "secret", "secret");
        ck_assert_int_eq(config_paths_parse(tree->root, &tree->roots, &err), 0);
}

static void tree_remove(struct tree *tree) {
        char command[128];

        config_paths_clear(&tree->roots);
        (void)snprintf(command, sizeof(command), "%s", tree->path);
        char *const arguments[] = {(char[]){"rm"}, (char[]){"-rf"}, command, NULL};
        pid_t pid = fork();
        if (pid == 0)
                execv("/bin/rm", arguments);
        ck_assert_int_gt(pid, 0);
        while (waitpid(pid, NULL, 0) < 0)
                ;
}

static int open_image(const struct tree *tree, const char *name, const char *header,
                      struct image_file *ret, struct wla_error *err) {
        char path[2 * PATH_SIZE];
        char header_path[2 * PATH_SIZE];

        (void)snprintf(path, sizeof(path), "%s/%s", tree->root, name);
        (void)snprintf(header_path, sizeof(header_path), "%s/%s", tree->root, header ? header : "");
        *err = (struct wla_error){0};
        return image_file_open(&tree->roots, path, header ? header_path : NULL, ret, err);
}

static void check_content(int fd, const char *text) {
        char content[32] = {0};

        ck_assert_int_ge(pread(fd, content, sizeof(content) - 1, 0), 0);
        ck_assert_str_eq(content, text);
}

START_TEST(images_open_with_and_without_a_header) {
        struct tree tree;
        struct image_file file = IMAGE_FILE_NONE;
        struct wla_error err;
        struct stat status;
        int fd = -1;

        tree_make(&tree);
        ck_assert_int_eq(open_image(&tree, "a.img", NULL, &file, &err), 0);
        check_content(file.fd, "image a");
        ck_assert_int_eq(file.header_fd, -1);
        ck_assert_uint_eq(file.size, 7);
        ck_assert_int_eq(fstat(file.fd, &status), 0);
        ck_assert_uint_eq(file.inode, status.st_ino);
        ck_assert_uint_eq(file.device, status.st_dev);
        ck_assert_int_eq(fcntl(file.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert_int_ne(fcntl(file.fd, F_GETFD) & FD_CLOEXEC, 0);
        ck_assert_int_eq(image_file_reopen(file.fd, &fd, &err), 0);
        ck_assert_int_eq(pwrite(fd, "IMAGE", 5, 0), 5);
        check_content(file.fd, "IMAGE a");
        (void)close(fd);
        image_file_close(&file);

        ck_assert_int_eq(open_image(&tree, "sub/b.img", NULL, &file, &err), 0);
        check_content(file.fd, "image b");
        check_content(file.header_fd, "header b");
        image_file_close(&file);

        ck_assert_int_eq(open_image(&tree, "a.img", "sub/b.img.header", &file, &err), 0);
        check_content(file.header_fd, "header b");
        image_file_close(&file);
        ck_assert_int_eq(open_image(&tree, "a.img", "none", &file, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        tree_remove(&tree);
}
END_TEST

static void check_refused(const struct tree *tree, const char *name, enum wla_code code) {
        struct image_file file = IMAGE_FILE_NONE;
        struct wla_error err;

        ck_assert_msg(open_image(tree, name, NULL, &file, &err) == -1, "%s was opened", name);
        ck_assert_msg(err.code == code, "%s: %s", name, wla_error_text(&err));
        ck_assert_int_eq(file.fd, -1);
        ck_assert_int_eq(file.header_fd, -1);
}

START_TEST(nothing_leads_out) {
        struct tree tree;
        struct image_file file = IMAGE_FILE_NONE;
        struct wla_error err = {0};
        char path[2 * PATH_SIZE];

        tree_make(&tree);
        make_link(&tree, "link", "a.img");
        make_link(&tree, "out", "../outside/secret");
        make_link(&tree, "dir", "sub");
        make_link(&tree, "outdir", tree.outside);
        make_link(&tree, "magic", "/proc/self/fd/0");
        make_link(&tree, "loop", "loop");
        make_link(&tree, "a.img.header", "../outside/secret");
        check_refused(&tree, "link", WLA_E_DENIED);
        check_refused(&tree, "out", WLA_E_DENIED);
        check_refused(&tree, "dir/b.img", WLA_E_DENIED);
        check_refused(&tree, "outdir/secret", WLA_E_DENIED);
        check_refused(&tree, "magic", WLA_E_DENIED);
        check_refused(&tree, "loop", WLA_E_DENIED);
        check_refused(&tree, "../outside/secret", WLA_E_DENIED);
        check_refused(&tree, "sub/../../outside/secret", WLA_E_DENIED);
        check_refused(&tree, "a.img", WLA_E_DENIED); /* its header is a link */

        static const char *const elsewhere[] = {"/outside/secret", "/rootx/a", "/roo", "/root"};
        for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
                (void)snprintf(path, sizeof(path), "%s%s", tree.path, elsewhere[i]);
                ck_assert_int_eq(image_file_open(&tree.roots, path, NULL, &file, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                ck_assert_ptr_nonnull(strstr(err.hint, "ImageRoots="));
                /* Who has done so already learns why it was not enough. */
                ck_assert_ptr_nonnull(strstr(err.hint, "systemctl restart wlagent-volumed"));
        }
        ck_assert_int_eq(image_file_open(&(struct config_paths){0}, path, NULL, &file, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        tree_remove(&tree);
}
END_TEST

START_TEST(what_is_no_file_is_not_touched) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct tree tree;
        char path[2 * PATH_SIZE];

        tree_make(&tree);
        (void)snprintf(path, sizeof(path), "%s/fifo", tree.root);
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/socket", tree.root);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        (void)close(fd);
        make_file(tree.root, "empty", "");
        make_file(tree.root, "open", "x");
        (void)snprintf(path, sizeof(path), "%s/open", tree.root);
        ck_assert_int_eq(chmod(path, 0666), 0);

        check_refused(&tree, "fifo", WLA_E_INPUT);
        check_refused(&tree, "socket", WLA_E_INPUT);
        check_refused(&tree, "sub", WLA_E_INPUT);
        check_refused(&tree, "empty", WLA_E_INPUT);
        check_refused(&tree, "open", WLA_E_DENIED);
        check_refused(&tree, "none", WLA_E_NOT_FOUND);
        check_refused(&tree, "a.img/none", WLA_E_NOT_FOUND);
        check_refused(&tree, "none/none", WLA_E_NOT_FOUND);

        /* The header is judged as the image is. */
        (void)snprintf(path, sizeof(path), "%s/a.img.header", tree.root);
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        check_refused(&tree, "a.img", WLA_E_INPUT);
        tree_remove(&tree);
}
END_TEST

START_TEST(the_closest_root_counts) {
        struct tree tree;
        struct image_file file = IMAGE_FILE_NONE;
        struct wla_error err = {0};
        char both[3 * PATH_SIZE];

        tree_make(&tree);
        /* The nested root is reached by a link, which is the operator's. */
        make_link(&tree, "mounted", tree.outside);
        config_paths_clear(&tree.roots);
        (void)snprintf(both, sizeof(both), "%s %s/mounted", tree.root, tree.root);
        ck_assert_int_eq(config_paths_parse(both, &tree.roots, &err), 0);
        ck_assert_int_eq(open_image(&tree, "mounted/secret", NULL, &file, &err), 0);
        image_file_close(&file);

        config_paths_clear(&tree.roots);
        ck_assert_int_eq(config_paths_parse("/nonexistent-root", &tree.roots, &err), 0);
        ck_assert_int_eq(image_file_open(&tree.roots, "/nonexistent-root/a", NULL, &file, &err),
                         -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        tree_remove(&tree);
}
END_TEST

struct racer {
        char from[2 * PATH_SIZE];
        char to[2 * PATH_SIZE];
        atomic_bool stop;
        unsigned long rounds;
};

static void *exchange(void *userdata) {
        struct racer *racer = userdata;

        while (!atomic_load(&racer->stop)) {
                if (renameat2(AT_FDCWD, racer->from, AT_FDCWD, racer->to, RENAME_EXCHANGE) < 0)
                        break;
                racer->rounds++;
        }
        return NULL;
}

/* While a directory and a link to the outside change places, and while a file does. */
static void race(const char *name, const char *link, const char *target, const char *opened) {
        struct tree tree;
        struct racer racer = {0};
        pthread_t thread;
        unsigned long right = 0;

        tree_make(&tree);
        make_file(tree.outside, "b.img", "secret");
        make_link(&tree, link, target);
        (void)snprintf(racer.from, sizeof(racer.from), "%s/%s", tree.root, name);
        (void)snprintf(racer.to, sizeof(racer.to), "%s/%s", tree.root, link);
        ck_assert_int_eq(pthread_create(&thread, NULL, exchange, &racer), 0);
        for (unsigned long i = suite_rounds(20000); i > 0; i--) {
                struct image_file file = IMAGE_FILE_NONE;
                struct wla_error err;

                if (open_image(&tree, opened, NULL, &file, &err) < 0)
                        continue;
                check_content(file.fd, "image b");
                right++;
                image_file_close(&file);
        }
        atomic_store(&racer.stop, true);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_uint_gt(racer.rounds, 0);
        ck_assert_uint_gt(right, 0);
        printf("%s changed %lu times; opened %lu times, and never another\n", name, racer.rounds,
               right);
        tree_remove(&tree);
}

START_TEST(a_directory_that_becomes_a_link_is_not_followed) {
        race("sub", "evil", "../outside", "sub/b.img");
}
END_TEST

START_TEST(a_file_that_becomes_a_link_is_not_followed) {
        race("sub/b.img", "evil", "../outside/secret", "sub/b.img");
}
END_TEST

SUITE_MAIN("volume/image_file", images_open_with_and_without_a_header, nothing_leads_out,
           what_is_no_file_is_not_touched, the_closest_root_counts,
           a_directory_that_becomes_a_link_is_not_followed,
           a_file_that_becomes_a_link_is_not_followed)
