/* SPDX-License-Identifier: Apache-2.0 */

/* Images and their headers: made, replaced, converted. */

#include "durable_names.h"

#include <fcntl.h>
#include <unistd.h>

#include "image/image_pair.h"
#include "image/isecl_convert.h"
#include "image/isecl_fixture.h"
#include "scratch.h"
#include "suite.h"

static struct scratch scratch;
static int directory_fd;

static void put(const char *name, const char *text) {
        int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        (void)close(fd);
}

static int empty_directory(void) {
        scratch_make(&scratch);
        directory_fd = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return directory_fd;
}

static int directory_with_a_pair(void) {
        (void)empty_directory();
        put("i", "old");
        put("i.header", "oldh");
        return directory_fd;
}

static void remove_directory(bool failed) {
        (void)failed;
        (void)close(directory_fd);
        scratch_remove(&scratch);
}

static int publish_file(bool replace, struct wla_error *err) {
        _cleanup_pending_file_ struct pending_file file = PENDING_FILE;

        if (pending_file_open(scratch_file(&scratch, "i"), 0600, &file, err) < 0)
                return -1;
        ck_assert_int_eq(write(file.fd, "new", 3), 3);
        return pending_file_publish(&file, replace, err);
}

static int publish_new(struct wla_error *err) {
        return publish_file(/* replace= */ false, err);
}

static int publish_again(struct wla_error *err) {
        return publish_file(/* replace= */ true, err);
}

START_TEST(a_file_that_was_pending) {
        static const struct durable_trial trials[] = {
                {empty_directory, publish_new, remove_directory, false},
                {empty_directory, publish_again, remove_directory, false},
                {directory_with_a_pair, publish_again, remove_directory, false},
        };

        for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++)
                ck_assert_uint_eq(durable_names_try(&trials[i]), 2);
}
END_TEST

static int publish_both(bool replace, struct wla_error *err) {
        _cleanup_image_pair_ struct image_pair pair = IMAGE_PAIR;
        char image[320];
        char header[320];

        (void)snprintf(image, sizeof(image), "%s", scratch_file(&scratch, "i"));
        (void)snprintf(header, sizeof(header), "%s", scratch_file(&scratch, "i.header"));
        if (pending_file_open(image, 0600, &pair.image, err) < 0 ||
            pending_file_open(header, 0600, &pair.header, err) < 0)
                return -1;
        ck_assert_int_eq(write(pair.image.fd, "new", 3), 3);
        ck_assert_int_eq(write(pair.header.fd, "newh", 4), 4);
        return image_pair_publish(&pair, replace, err);
}

static int publish_new_pair(struct wla_error *err) {
        return publish_both(/* replace= */ false, err);
}

static int replace_pair(struct wla_error *err) {
        return publish_both(/* replace= */ true, err);
}

/* The old pair keeps its names until both new files are on the disk. */
static void check_pair(bool failed) {
        if (failed && durable_names_failed_sync() <= 2)
                ck_assert_uint_eq(durable_names_given(), 0);
        remove_directory(failed);
}

START_TEST(an_image_and_its_header) {
        const struct durable_trial create = {empty_directory, publish_new_pair, check_pair, true};
        const struct durable_trial replace = {directory_with_a_pair, replace_pair, check_pair,
                                              true};

        ck_assert_uint_eq(durable_names_try(&create), 6);
        ck_assert_uint_eq(durable_names_try(&replace), 8);
}
END_TEST

static struct isecl_image image;
static struct key_id key_id;
static struct wla_secret *key;
static int image_fd;

static int directory_and_image(void) {
        struct wla_error err = {0};
        uint8_t *file = isecl_make(9, NULL, 0, 5000);

        image_fd = isecl_file(file, 5000 + 60);
        free(file);
        key = isecl_key(9);
        ck_assert_int_eq(isecl_image_read(image_fd, &image, &err), 0);
        ck_assert_int_eq(key_id_local("web", &key_id, &err), 0);
        return empty_directory();
}

static int convert(struct wla_error *err) {
        struct isecl_conversion what = {
                .image_fd = image_fd,
                .image = &image,
                .key = key,
                .key_id = &key_id,
                .directory_fd = directory_fd,
        };

        return isecl_convert(&what, err);
}

static int directory_with_a_conversion(void) {
        struct wla_error err = {0};

        (void)directory_and_image();
        ck_assert_int_eq(convert(&err), 0);
        return directory_fd;
}

static int remove_conversion(struct wla_error *err) {
        return isecl_converted_remove(directory_fd, &image.identity, err);
}

static void remove_all(bool failed) {
        (void)close(image_fd);
        key = wla_secret_free(key);
        remove_directory(failed);
}

START_TEST(a_conversion) {
        const struct durable_trial make = {directory_and_image, convert, remove_all, false};
        const struct durable_trial end = {directory_with_a_conversion, remove_conversion,
                                          remove_all, false};

        ck_assert_uint_eq(durable_names_try(&make), 4);
        ck_assert_uint_eq(durable_names_try(&end), 1);
}
END_TEST

SUITE_MAIN("durability/images", a_file_that_was_pending, an_image_and_its_header, a_conversion)
