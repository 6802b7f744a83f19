/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/report_store.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "sample_signer.h"
#include "suite.h"

#define FILE_NAME "reports/000000006553f100-" SAMPLE_VM "-" SAMPLE_IMAGE ".json"

struct place {
        struct sample_signer sample;
        const char *state;
        struct buf report;
        struct report_name name;
};

static void place_open(struct place *place) {
        sample_signer_open(&place->sample);
        place->state = place->sample.scratch.path;
        place->report = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        sample_report(&place->sample, &place->report);
        place->name = (struct report_name){
                .started_sec = 1700000000, .vm.text = SAMPLE_VM, .image.text = SAMPLE_IMAGE};
}

static const char *path_of(const struct place *place, const char *name) {
        return scratch_file(&place->sample.scratch, name);
}

static void place_close(struct place *place) {
        struct scratch reports;

        (void)snprintf(reports.path, sizeof(reports.path), "%.50s/reports", place->state);
        scratch_remove(&reports);
        buf_clear(&place->report);
        sample_signer_close(&place->sample);
}

static void put(const struct place *place, const char *name, const void *data, size_t size) {
        FILE *file = fopen(path_of(place, name), "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fwrite(data, 1, size, file), size);
        ck_assert_int_eq(fclose(file), 0);
}

static bool is_there(const struct place *place, const char *name) {
        return access(path_of(place, name), F_OK) == 0;
}

static void write_it(const struct place *place) {
        struct wla_error err = {0};

        ck_assert_msg(report_store_write(place->state, &place->name, &place->report, &err) == 0,
                      "%s", wla_error_text(&err));
}

static int read_it(const struct place *place, struct buf *to, struct wla_error *err) {
        *err = (struct wla_error){0};
        return report_store_read(place->state, &place->name, to, err);
}

static int count_found(void *userdata, const struct report_name *name, struct wla_error *err) {
        unsigned *count = userdata;

        (void)err;
        ck_assert_str_eq(name->vm.text, SAMPLE_VM);
        ck_assert_str_eq(name->image.text, SAMPLE_IMAGE);
        ck_assert_uint_eq(name->started_sec, 1700000000);
        ++*count;
        return 0;
}

static unsigned count(const struct place *place) {
        struct wla_error err = {0};
        unsigned found = 0;

        ck_assert_int_eq(report_store_list(place->state, count_found, &found, &err), 0);
        return found;
}

START_TEST(what_was_written_is_read) {
        _cleanup_buf_ struct buf again = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        struct place place;
        struct stat status;
        struct wla_error err;

        place_open(&place);
        ck_assert_uint_eq(count(&place), 0);
        ck_assert_int_eq(stat(path_of(&place, "reports"), &status), 0);
        ck_assert_uint_eq(status.st_mode & 07777, 0700);
        write_it(&place);
        ck_assert_int_eq(stat(path_of(&place, FILE_NAME), &status), 0);
        ck_assert_uint_eq(status.st_mode & 07777, 0600);
        ck_assert_uint_eq(count(&place), 1);
        ck_assert_int_eq(read_it(&place, &again, &err), 0);
        ck_assert_uint_eq(again.size, place.report.size);
        ck_assert_mem_eq(again.data, place.report.data, again.size);
        write_it(&place);
        ck_assert_uint_eq(count(&place), 1);
        ck_assert_int_eq(report_store_remove(place.state, &place.name, &err), 0);
        ck_assert_int_eq(report_store_remove(place.state, &place.name, &err), 0);
        ck_assert_uint_eq(count(&place), 0);
        buf_reset(&again);
        ck_assert_int_eq(read_it(&place, &again, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        place_close(&place);
}
END_TEST

START_TEST(other_files_are_left_alone) {
        static const char *const names[] = {
                "reports/README",
                "reports/000000006553F100-" SAMPLE_VM "-" SAMPLE_IMAGE ".json",
                "reports/6553f100-" SAMPLE_VM "-" SAMPLE_IMAGE ".json",
                "reports/000000006553f100-" SAMPLE_VM "-" SAMPLE_IMAGE ".json~",
                "reports/000000006553f100-" SAMPLE_VM "_" SAMPLE_IMAGE ".json",
                "reports/000000006553f100-" SAMPLE_VM "-" SAMPLE_IMAGE ".JSON",
                "reports/.bad-000000006553f100-" SAMPLE_VM "-" SAMPLE_IMAGE ".json",
                "reports/000000006553f100-00000000-0000-0000-0000-000000000000-" SAMPLE_IMAGE
                ".json",
        };
        struct place place;

        place_open(&place);
        write_it(&place);
        put(&place, "reports/.new-0123456789abcdef", "torn", 4);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                put(&place, names[i], "x", 1);
        ck_assert_uint_eq(count(&place), 1);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ck_assert(is_there(&place, names[i]));
        ck_assert(!is_there(&place, "reports/.new-0123456789abcdef"));
        place_close(&place);
}
END_TEST

START_TEST(what_is_not_understood_is_set_aside) {
        _cleanup_buf_ struct buf again = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        static const char aside[] = "reports/.bad-000000006553f100-" SAMPLE_VM "-" SAMPLE_IMAGE
                                    ".json";
        struct place place;
        struct wla_error err;

        place_open(&place);
        write_it(&place);
        put(&place, FILE_NAME, place.report.data, place.report.size - 1);
        ck_assert_int_eq(read_it(&place, &again, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "is not understood and set aside"));
        ck_assert(is_there(&place, aside));
        ck_assert_uint_eq(count(&place), 0);

        /* A name of ours with what is about another VM. */
        memcpy(place.name.vm.text, SAMPLE_HOST, sizeof(SAMPLE_HOST));
        write_it(&place);
        buf_reset(&again);
        ck_assert_int_eq(read_it(&place, &again, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "it is of another VM or image"));

        /* A link in its place is not followed. */
        ck_assert_int_eq(
                symlink("/etc/passwd", path_of(&place, "reports/000000006553f100-" SAMPLE_HOST
                                                       "-" SAMPLE_IMAGE ".json")),
                0);
        buf_reset(&again);
        ck_assert_int_eq(read_it(&place, &again, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_uint_eq(again.size, 0);
        place_close(&place);
}
END_TEST

START_TEST(one_that_is_too_large_is_none) {
        _cleanup_buf_ struct buf again = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        static char large[SIGNED_REPORT_MAX + 1];
        struct place place;
        struct wla_error err;

        place_open(&place);
        write_it(&place);
        put(&place, FILE_NAME, large, sizeof(large));
        ck_assert_int_eq(read_it(&place, &again, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        place_close(&place);
}
END_TEST

START_TEST(a_directory_that_cannot_be_used) {
        struct place place;
        struct wla_error err = {0};
        unsigned found = 0;

        place_open(&place);
        put(&place, "reports", "", 0);
        ck_assert_int_eq(report_store_write(place.state, &place.name, &place.report, &err), -1);
        ck_assert_int_eq(report_store_list(place.state, count_found, &found, &err), -1);
        ck_assert_int_eq(report_store_remove(place.state, &place.name, &err), -1);
        ck_assert_int_eq(unlink(path_of(&place, "reports")), 0);
        ck_assert_int_eq(mkdir(path_of(&place, "reports"), 0700), 0);
        place_close(&place);
}
END_TEST

SUITE_MAIN("report_store", what_was_written_is_read, other_files_are_left_alone,
           what_is_not_understood_is_set_aside, one_that_is_too_large_is_none,
           a_directory_that_cannot_be_used)
