/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image/image_pair.h"
#include "scratch.h"

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);

/* The call that fails, counted from 1; 0: none. */
static unsigned left;
/* As on a file system that cannot rename without replacing. */
static bool no_flags;
/* As on one that has files without a name, but none for them later. */
static bool no_later_name;
/* Where another run's image appears just before ours gets its name; NULL: none. */
static const char *other_run;

static bool fails(void) {
        if (left == 0 || --left > 0)
                return false;
        errno = EIO;
        return true;
}

int __wrap_fsync(int fd) {
        return fails() ? -1 : __real_fsync(fd);
}

static void put(const char *path, const char *text) {
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
        if (no_later_name && (flags & AT_SYMLINK_FOLLOW)) {
                errno = EINVAL;
                return -1;
        }
        if (other_run && strcmp(to, "i") == 0) {
                put(other_run, "other");
                other_run = NULL;
        }
        return fails() ? -1 : __real_linkat(from_fd, from, to_fd, to, flags);
}

int __wrap_unlinkat(int fd, const char *name, int flags) {
        return fails() ? -1 : __real_unlinkat(fd, name, flags);
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
        if (no_flags && flags) {
                errno = EINVAL;
                return -1;
        }
        return fails() ? -1 : __real_renameat2(from_fd, from, to_fd, to, flags);
}

/* "" for a file that is not there. */
static const char *content_of(const struct scratch *scratch, const char *name) {
        static char text[16];
        int fd = open(scratch_file(scratch, name), O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

        text[size > 0 ? size : 0] = '\0';
        if (fd >= 0)
                (void)close(fd);
        return text;
}

static int replace(const struct scratch *scratch, struct wla_error *err) {
        _cleanup_image_pair_ struct image_pair pair = IMAGE_PAIR;
        char image[320];
        char header[320];

        (void)snprintf(image, sizeof(image), "%s", scratch_file(scratch, "i"));
        (void)snprintf(header, sizeof(header), "%s", scratch_file(scratch, "i.header"));
        if (pending_file_open(image, 0600, &pair.image, err) < 0 ||
            pending_file_open(header, 0600, &pair.header, err) < 0)
                return -1;
        ck_assert_int_eq(write(pair.image.fd, "new", 3), 3);
        ck_assert_int_eq(write(pair.header.fd, "newh", 4), 4);
        return image_pair_publish(&pair, true, err);
}

static void check_nothing_kept(const struct scratch *scratch) {
        ck_assert_str_eq(content_of(scratch, "i.replaced"), "");
        ck_assert_str_eq(content_of(scratch, "i.header.replaced"), "");
}

/* Every call fails once, for every set of old files.  Returns how many there were. */
static unsigned fail_each(const char *old, const char *old_header) {
        for (unsigned n = 1;; n++) {
                struct scratch scratch;
                struct wla_error err = {0};

                scratch_make(&scratch);
                if (old[0])
                        put(scratch_file(&scratch, "i"), old);
                if (old_header[0])
                        put(scratch_file(&scratch, "i.header"), old_header);
                left = n;
                int outcome = replace(&scratch, &err);
                bool hit = left == 0;
                left = 0;

                if (outcome < 0) {
                        ck_assert(hit);
                        ck_assert_str_eq(content_of(&scratch, "i"), old);
                        ck_assert_str_eq(content_of(&scratch, "i.header"), old_header);
                        check_nothing_kept(&scratch);
                } else {
                        ck_assert_str_eq(content_of(&scratch, "i"), "new");
                        ck_assert_str_eq(content_of(&scratch, "i.header"), "newh");
                        if (!hit)
                                check_nothing_kept(&scratch);
                }
                scratch_remove(&scratch);
                if (!hit)
                        return n - 1;
        }
}

START_TEST(a_step_that_fails_leaves_the_old_pair) {
        for (int i = 0; i < 4; i++) {
                no_flags = i & 1;
                no_later_name = i & 2;
                ck_assert_uint_ge(fail_each("old", "oldh"), 9);
                ck_assert_uint_ge(fail_each("old", ""), 7);
                ck_assert_uint_ge(fail_each("", "oldh"), 7);
                ck_assert_uint_ge(fail_each("", ""), 6);
        }
}
END_TEST

START_TEST(what_was_kept_is_not_touched) {
        static const char *const names[] = {"i.replaced", "i.header.replaced"};

        for (size_t i = 0; i < 4; i++) {
                struct scratch scratch;
                struct wla_error err = {0};

                no_flags = i >= 2;
                scratch_make(&scratch);
                put(scratch_file(&scratch, "i"), "old");
                put(scratch_file(&scratch, "i.header"), "oldh");
                put(scratch_file(&scratch, names[i % 2]), "kept");
                ck_assert_int_eq(replace(&scratch, &err), -1);
                ck_assert_str_eq(content_of(&scratch, "i"), "old");
                ck_assert_str_eq(content_of(&scratch, "i.header"), "oldh");
                ck_assert_str_eq(content_of(&scratch, names[i % 2]), "kept");
                ck_assert_str_eq(content_of(&scratch, names[1 - i % 2]), "");
                scratch_remove(&scratch);
        }
}
END_TEST

/* Another run was killed, or is not done, after both had found the names free. */
START_TEST(what_another_run_took_keeps_its_other_half) {
        static const char *const taken[] = {"i.replaced", "i.header.replaced"};
        static const char *const other_half[] = {"i.header", "i"};

        for (size_t n = 0; n < 4; n++) {
                struct scratch scratch;
                struct wla_error err = {0};
                size_t i = n % 2;

                no_flags = n >= 2;
                scratch_make(&scratch);
                put(scratch_file(&scratch, taken[i]), "taken");
                put(scratch_file(&scratch, other_half[i]), "half");
                ck_assert_int_eq(replace(&scratch, &err), -1);
                ck_assert_int_eq(err.code, WLA_E_INPUT);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), taken[i]));
                ck_assert_ptr_nonnull(err.hint);
                ck_assert_str_eq(content_of(&scratch, taken[i]), "taken");
                ck_assert_str_eq(content_of(&scratch, other_half[i]), "half");
                ck_assert_str_eq(content_of(&scratch, taken[1 - i]), "");
                ck_assert_str_eq(content_of(&scratch, other_half[1 - i]), "");
                scratch_remove(&scratch);
        }
}
END_TEST

START_TEST(another_run_that_was_faster_is_not_overwritten) {
        for (int i = 0; i < 4; i++) {
                struct scratch scratch;
                struct wla_error err = {0};
                char path[320];

                no_flags = i & 1;
                no_later_name = i & 2;
                if (no_later_name && !no_flags)
                        continue; /* Then there is no link() to be faster than. */
                scratch_make(&scratch);
                put(scratch_file(&scratch, "i"), "old");
                put(scratch_file(&scratch, "i.header"), "oldh");
                (void)snprintf(path, sizeof(path), "%s", scratch_file(&scratch, "i"));
                other_run = path;
                ck_assert_int_eq(replace(&scratch, &err), -1);
                ck_assert_ptr_null(other_run);
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "i.replaced, because there is"));
                ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "exists already"));
                ck_assert_ptr_nonnull(err.hint);
                ck_assert_str_eq(content_of(&scratch, "i"), "other");
                ck_assert_str_eq(content_of(&scratch, "i.replaced"), "old");
                ck_assert_str_eq(content_of(&scratch, "i.header"), "");
                ck_assert_str_eq(content_of(&scratch, "i.header.replaced"), "oldh");
                scratch_remove(&scratch);
        }
}
END_TEST

SUITE_MAIN("image/image_pair", a_step_that_fails_leaves_the_old_pair, what_was_kept_is_not_touched,
           what_another_run_took_keeps_its_other_half,
           another_run_that_was_faster_is_not_overwritten)
