/* SPDX-License-Identifier: Apache-2.0 */

/* Small files: the key store, and whatever else base/file.h writes. */

#include "durable_names.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "scratch.h"
#include "source/key_store.h"
#include "source/temporary_store.h"
#include "suite.h"

static struct scratch scratch;
static int directory_fd;

static int empty_directory(void) {
        scratch_make(&scratch);
        directory_fd = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return directory_fd;
}

static int directory_with_a_file(void) {
        int fd = openat(empty_directory(), "key", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        ck_assert_int_eq(write(fd, "old", 3), 3);
        (void)close(fd);
        return directory_fd;
}

/* Without the file being synced it has no name; what was there is. */
static void check_file(bool failed) {
        if (durable_names_failed_sync() == 1)
                ck_assert_uint_eq(durable_names_given(), 0);
        if (!failed)
                ck_assert_int_eq(faccessat(directory_fd, "key", F_OK, 0), 0);
        (void)close(directory_fd);
        scratch_remove(&scratch);
}

static int write_new(struct wla_error *err) {
        return file_write(directory_fd, "key", "new", 3, 0600, /* replace= */ false, err);
}

static int write_again(struct wla_error *err) {
        return file_write(directory_fd, "key", "new", 3, 0600, /* replace= */ true, err);
}

static int write_for_others(struct wla_error *err) {
        const struct wla_bytes data = {.data = (const uint8_t *)"new", .size = 3};

        return file_write_for(directory_fd, "key", data, 0640, (uid_t)-1, (gid_t)-1, err);
}

START_TEST(a_file_that_is_written) {
        static const struct durable_trial trials[] = {
                {empty_directory, write_new, check_file, false},
                {empty_directory, write_again, check_file, false},
                {directory_with_a_file, write_again, check_file, false},
                {directory_with_a_file, write_for_others, check_file, false},
        };

        for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++)
                ck_assert_uint_eq(durable_names_try(&trials[i]), 2);
}
END_TEST

static struct temporary_store made;
static struct key_store store;

static int key_store_with_a_key(void) {
        const struct key_file file = sample_key_file("web");
        struct wla_error err = {0};

        made = temporary_store_make();
        ck_assert_int_eq(key_store_open(made.path, &store, &err), 0);
        ck_assert_int_eq(key_store_write(&store, &file, false, &err), 0);
        return store.fd;
}

static int remove_key(struct wla_error *err) {
        return key_store_remove(&store, "web", err);
}

static void remove_store(bool failed) {
        (void)failed;
        key_store_close(&store);
        temporary_store_remove(&made);
}

/* Else a key that was taken away is there again. */
START_TEST(a_key_that_is_removed) {
        const struct durable_trial trial = {key_store_with_a_key, remove_key, remove_store, false};

        ck_assert_uint_eq(durable_names_try(&trial), 1);
}
END_TEST

SUITE_MAIN("durability/files", a_file_that_is_written, a_key_that_is_removed)
