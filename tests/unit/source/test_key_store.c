/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "suite.h"
#include "temporary_store.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void open_store(const struct temporary_store *made, struct key_store *ret) {
        struct wla_error err = {0};

        ck_assert_int_eq(key_store_open(made->path, ret, &err), 0);
}

static void write_sample(const struct key_store *store, const char *name) {
        struct wla_error err = {0};
        const struct key_file file = sample_key_file(name);

        ck_assert_int_eq(key_store_write(store, &file, false, &err), 0);
}

/* The path of the key store stands between before and after. */
static void expect_error(const struct wla_error *err, enum wla_code code,
                         const struct key_store *store, const char *before, const char *after) {
        char text[PATH_MAX + 256];

        (void)snprintf(text, sizeof(text), "%s%s%s", before, store->directory, after);
        ck_assert_int_eq(err->code, code);
        ck_assert_str_eq(wla_error_text(err), text);
        ck_assert_ptr_nonnull(err->hint);
}

START_TEST(stores_reads_and_removes) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct wla_error err = {0};
        struct key_file file;
        struct stat facts;
        char path[192];

        open_store(&made, &store);
        write_sample(&store, "web-1");
        temporary_store_path(&made, "web-1.json", path);
        ck_assert_int_eq(stat(path, &facts), 0);
        ck_assert_uint_eq(facts.st_mode & 07777, 0600);

        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), 0);
        const struct key_file sample = sample_key_file("web-1");
        ck_assert_mem_eq(&file, &sample, sizeof(file));

        ck_assert_int_eq(key_store_remove(&store, "web-1", &err), 0);
        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), -1);
        expect_error(&err, WLA_E_NOT_FOUND, &store, "no key named web-1 in ", "");
        ck_assert_int_eq(key_store_remove(&store, "web-1", &err), -1);
        expect_error(&err, WLA_E_NOT_FOUND, &store, "no key named web-1 in ", "");
}
END_TEST

START_TEST(replaces_only_when_told) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct wla_error err = {0};
        struct key_file changed = sample_key_file("web-1");
        struct key_file file;

        open_store(&made, &store);
        write_sample(&store, "web-1");
        changed.wrapped[0] ^= 1;
        ck_assert_int_eq(key_store_write(&store, &changed, false, &err), -1);
        expect_error(&err, WLA_E_INPUT, &store, "there is a key named web-1 in ", " already");
        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), 0);
        ck_assert_uint_ne(file.wrapped[0], changed.wrapped[0]);

        ck_assert_int_eq(key_store_write(&store, &changed, true, &err), 0);
        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), 0);
        ck_assert_uint_eq(file.wrapped[0], changed.wrapped[0]);
}
END_TEST

START_TEST(lists_names_in_order) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        _cleanup_key_names_ struct key_names names = {0};
        _cleanup_key_names_ struct key_names again = {0};
        struct wla_error err = {0};
        char name[16];

        open_store(&made, &store);
        ck_assert_int_eq(key_store_list(&store, &names, &err), 0);
        ck_assert_uint_eq(names.count, 0);

        temporary_store_put(&made, ".new-0123456789abcdef", "x", 1);
        temporary_store_put(&made, ".json", "x", 1);
        temporary_store_put(&made, "notes.txt", "x", 1);
        temporary_store_put(&made, "a b.json", "x", 1);
        for (int i = 39; i >= 0; i--) {
                (void)snprintf(name, sizeof(name), "k%02d", i);
                write_sample(&store, name);
        }

        ck_assert_int_eq(key_store_list(&store, &again, &err), 0);
        ck_assert_uint_eq(again.count, 40);
        ck_assert_str_eq(again.names[0], "k00");
        ck_assert_str_eq(again.names[39], "k39");
}
END_TEST

START_TEST(names_the_file_that_is_damaged) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(4096);
        struct wla_error err = {0};
        struct key_file file;
        static const uint8_t large[KEY_FILE_SIZE_MAX * 2];

        open_store(&made, &store);
        (void)sample_text("web-1", "\"version\": 1", "\"version\": 3", &text);
        temporary_store_put(&made, "web-1.json", text.data, text.size);
        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), -1);
        expect_error(&err, WLA_E_INPUT, &store, "key file ",
                     "/web-1.json: version 3 is not known, only version 1");

        buf_reset(&text);
        (void)sample_text("other", "", "", &text);
        temporary_store_put(&made, "web-1.json", text.data, text.size);
        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), -1);
        expect_error(&err, WLA_E_INPUT, &store, "key file ",
                     "/web-1.json: the key in it is named other");

        temporary_store_put(&made, "web-1.json", large, sizeof(large));
        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), -1);
        expect_error(&err, WLA_E_INPUT, &store, "key file ",
                     "/web-1.json: larger than 16 KiB, which no key file is");
}
END_TEST

START_TEST(refuses_other_kinds_of_file) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct wla_error err = {0};
        struct key_file file;
        char path[192];

        open_store(&made, &store);
        temporary_store_path(&made, "link.json", path);
        ck_assert_int_eq(symlink("/etc/passwd", path), 0);
        ck_assert_int_eq(key_store_read(&store, "link", &file, &err), -1);
        expect_error(&err, WLA_E_DENIED, &store, "key file ",
                     "/link.json: a symbolic link is not followed");

        temporary_store_path(&made, "pipe.json", path);
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        ck_assert_int_eq(key_store_read(&store, "pipe", &file, &err), -1);
        expect_error(&err, WLA_E_DENIED, &store, "key file ", "/pipe.json: not a regular file");
}
END_TEST

START_TEST(refuses_open_modes_and_foreign_owners) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct wla_error err = {0};
        struct key_file file;
        char path[192];

        open_store(&made, &store);
        write_sample(&store, "web-1");
        temporary_store_path(&made, "web-1.json", path);
        ck_assert_int_eq(chmod(path, 0640), 0);
        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), -1);
        expect_error(&err, WLA_E_DENIED, &store, "key file ",
                     "/web-1.json: open to other users (mode 0640)");

        if (geteuid() == 0) {
                ck_assert_int_eq(chmod(path, 0600), 0);
                ck_assert_int_eq(chown(path, 4711, 0), 0);
                ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), -1);
                expect_error(&err, WLA_E_DENIED, &store, "key file ",
                             "/web-1.json: belongs to user 4711, who does not own the key store");
        }
}
END_TEST

START_TEST(takes_files_of_the_directorys_owner) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct wla_error err = {0};
        struct key_file file;
        struct stat facts;
        char path[192];

        if (geteuid() != 0)
                return;

        temporary_store_path(&made, "", path);
        ck_assert_int_eq(chown(path, 4711, 4711), 0);
        open_store(&made, &store);
        write_sample(&store, "web-1");
        temporary_store_path(&made, "web-1.json", path);
        ck_assert_int_eq(stat(path, &facts), 0);
        ck_assert_uint_eq(facts.st_uid, 4711);
        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), 0);
}
END_TEST

START_TEST(refuses_an_unsafe_or_missing_directory) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        struct key_store store = KEY_STORE_CLOSED;
        struct wla_error err = {0};
        char path[192];

        temporary_store_path(&made, "", path);
        ck_assert_int_eq(chmod(path, 0770), 0);
        ck_assert_int_eq(key_store_open(made.path, &store, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_DENIED);
        ck_assert_ptr_nonnull(
                strstr(wla_error_text(&err), "/keys may be written by others (mode 0770)"));

        ck_assert_int_eq(rmdir(path), 0);
        ck_assert_int_eq(key_store_open(made.path, &store, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "there is no key store /tmp/"));
        ck_assert_str_eq(err.hint, "run 'wlagent setup' first");

        path[strlen(path) - 1] = '\0';
        ck_assert_int_eq(symlink("/tmp", path), 0);
        ck_assert_int_eq(key_store_open(made.path, &store, &err), -1);
        ck_assert_ptr_eq(strstr(wla_error_text(&err), "opening the key store /tmp/"),
                         wla_error_text(&err));

        char deep[PATH_MAX + 8];
        memset(deep, 'x', sizeof(deep) - 1);
        deep[sizeof(deep) - 1] = '\0';
        ck_assert_int_eq(key_store_open(deep, &store, &err), -1);
        ck_assert_str_eq(wla_error_text(&err), "the path of the state directory is too long");
        ck_assert_int_eq(store.fd, -1);
}
END_TEST

/* The kernel's answer is EFBIG here and ENOSPC on a full disk; both come from write(2).  In a process
 * of its own: the test library writes files too. */
static void write_without_room(const struct key_store *store, const struct key_file *file) {
        struct wla_error err = {0};
        int status;

        pid_t child = fork();
        if (child == 0) {
                char text[PATH_MAX + 256];

                (void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
                (void)setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, 100});
                int outcome = key_store_write(store, file, true, &err);
                (void)snprintf(text, sizeof(text),
                               "storing key web-1 in %s: cannot write web-1.json: File too large",
                               store->directory);
                _exit(outcome == -1 && strcmp(wla_error_text(&err), text) == 0 ? 0 : 1);
        }

        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
}

START_TEST(a_full_disk_changes_nothing) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct wla_error err = {0};
        struct key_file changed = sample_key_file("web-1");
        struct key_file file;
        char path[192];

        open_store(&made, &store);
        write_sample(&store, "web-1");
        changed.wrapped[0] ^= 1;
        write_without_room(&store, &changed);

        ck_assert_int_eq(key_store_read(&store, "web-1", &file, &err), 0);
        ck_assert_uint_ne(file.wrapped[0], changed.wrapped[0]);

        /* And nothing is left over: what remains after the key is gone is an empty directory. */
        ck_assert_int_eq(key_store_remove(&store, "web-1", &err), 0);
        temporary_store_path(&made, "", path);
        ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(allocations_may_fail) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        const struct key_file sample = sample_key_file("web-1");
        char path[192];

        temporary_store_path(&made, "web-1.json", path);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
                _cleanup_key_names_ struct key_names names = {0};
                struct wla_error err = {0};
                struct key_file file;

                int outcome = key_store_open(made.path, &store, &err);
                if (outcome == 0)
                        outcome = key_store_write(&store, &sample, true, &err);
                if (outcome == 0)
                        outcome = key_store_read(&store, "web-1", &file, &err);
                if (outcome == 0)
                        outcome = key_store_list(&store, &names, &err);
                fail_allocation_disarm();
                ck_assert(outcome < 0 || !fail_allocation_hit());
                ck_assert(outcome == 0 || err.code == WLA_E_BUSY);
        }
}
END_TEST

SUITE_MAIN("key_store", stores_reads_and_removes, replaces_only_when_told, lists_names_in_order,
           names_the_file_that_is_damaged, refuses_other_kinds_of_file,
           refuses_open_modes_and_foreign_owners, takes_files_of_the_directorys_owner,
           refuses_an_unsafe_or_missing_directory, a_full_disk_changes_nothing,
           allocations_may_fail)
