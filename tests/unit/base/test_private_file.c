/* SPDX-License-Identifier: Apache-2.0 */
#include "base/private_file.h"

#include <string.h>
#include <sys/stat.h>

#include "scratch.h"
#include "suite.h"

static struct scratch scratch;

static const char *make(const char *content, size_t size, mode_t mode) {
        const char *path = scratch_file(&scratch, "secret");
        FILE *file = fopen(path, "we");

        ck_assert_uint_eq(fwrite(content, 1, size, file), size);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(chmod(path, mode), 0);
        return path;
}

static void begin(void) {
        struct wla_error err = {0};

        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        scratch_make(&scratch);
}

START_TEST(whole) {
        struct wla_error err = {0};

        begin();
        for (size_t size = 1; size <= 8; size++) {
                _cleanup_secret_ struct wla_secret *got = NULL;
                const char *path = make("12345678", size, size % 2 ? 0600 : 0400);

                ck_assert_int_eq(private_file_read(path, 8, &got, &err), 0);
                ck_assert_uint_eq(wla_secret_view(got).size, size);
                ck_assert_mem_eq(wla_secret_view(got).data, "12345678", size);
        }
        scratch_remove(&scratch);
}
END_TEST

START_TEST(open_to_others) {
        static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0666};
        struct wla_error err = {0};

        begin();
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
                struct wla_secret *got = NULL;

                ck_assert_int_eq(private_file_read(make("1", 1, modes[i]), 8, &got, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                ck_assert_ptr_null(got);
        }
        scratch_remove(&scratch);
}
END_TEST

START_TEST(of_another_user) {
        struct wla_secret *got = NULL;
        struct wla_error err = {0};

        begin();
        const char *path = make("1", 1, 0600);
        if (geteuid() == 0) {
                ck_assert_int_eq(chown(path, 65534, 65534), 0);
                ck_assert_int_eq(private_file_read(path, 8, &got, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_DENIED);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "another user"));
        }
        scratch_remove(&scratch);
}
END_TEST

START_TEST(no_such_thing) {
        struct wla_secret *got = NULL;
        struct wla_error err = {0};

        begin();
        ck_assert_int_eq(private_file_read(scratch_file(&scratch, "none"), 8, &got, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_int_eq(private_file_read(scratch.path, 8, &got, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_int_eq(private_file_read(make("", 0, 0600), 8, &got, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_int_eq(private_file_read(make("123456789", 9, 0600), 8, &got, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_ptr_null(got);
        scratch_remove(&scratch);
}
END_TEST

SUITE_MAIN("private_file", whole, open_to_others, of_another_user, no_such_thing)
