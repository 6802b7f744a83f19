/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/report_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#define DIRECTORY     "reports"
#define SUFFIX        ".json"
#define PARTIAL       ".new-" /* as file_write() begins its temporary names */
#define ASIDE_PREFIX  ".bad-"
#define TIME_DIGITS   16u
#define UUID_LENGTH   (UUID_TEXT_SIZE - 1)
#define NAME_LENGTH   (TIME_DIGITS + 1 + UUID_LENGTH + 1 + UUID_LENGTH + sizeof(SUFFIX) - 1)
#define FILE_NAME_MAX (NAME_LENGTH + 1)

bool report_name_equal(const struct report_name *a, const struct report_name *b) {
        return a->started_sec == b->started_sec && uuid_equal(&a->vm, &b->vm) &&
               uuid_equal(&a->image, &b->image);
}

static void name_file(const struct report_name *name, char to[FILE_NAME_MAX]) {
        (void)snprintf(to, FILE_NAME_MAX, "%016" PRIx64 "-%s-%s" SUFFIX, name->started_sec,
                       name->vm.text, name->image.text);
}

static bool read_time(const char *text, uint64_t *ret) {
        static const char digits[] = "0123456789abcdef";
        uint64_t value = 0;

        for (size_t i = 0; i < TIME_DIGITS; i++) {
                const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

                if (!digit)
                        return false;
                value = value << 4 | (uint64_t)(digit - digits);
        }
        *ret = value;
        return true;
}

/* In exactly the form in which it is written. */
static bool parse_name(const char *text, struct report_name *ret) {
        const char *vm = text + TIME_DIGITS + 1;
        const char *image = vm + UUID_LENGTH + 1;
        struct wla_error ignored = {0};
        char again[FILE_NAME_MAX];

        if (strlen(text) != NAME_LENGTH || !read_time(text, &ret->started_sec) ||
            uuid_parse(vm, UUID_LENGTH, &ret->vm, &ignored) < 0 ||
            uuid_parse(image, UUID_LENGTH, &ret->image, &ignored) < 0)
                return false;
        name_file(ret, again);
        return strcmp(text, again) == 0;
}

static int open_store(const char *state_directory, int *ret_fd, struct wla_error *err) {
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/" DIRECTORY, state_directory);
        if (file_open_directory(path, /* create= */ true, 0700, ret_fd, err) < 0)
                return wla_wrap(err, "the trust reports");
        return 0;
}

int report_store_write(const char *state_directory, const struct report_name *name,
                       const struct buf *report, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        char file[FILE_NAME_MAX];

        name_file(name, file);
        if (open_store(state_directory, &fd, err) < 0)
                return -1;
        return file_write(fd, file, report->data, report->size, 0600, /* replace= */ true, err);
}

static int check(const struct report_name *name, const struct buf *report, struct wla_error *err) {
        struct signed_report about;

        if (signed_report_parse((const char *)report->data, report->size, &about, err) < 0)
                return -1;
        if (!uuid_equal(&about.vm, &name->vm) || !uuid_equal(&about.image, &name->image))
                return wla_fail(err, WLA_E_INPUT,
                                "it is of another VM or image than its name says");
        return 0;
}

static int set_aside(int fd, const char *file, struct wla_error *err) {
        char aside[sizeof(ASIDE_PREFIX) + FILE_NAME_MAX];

        (void)snprintf(aside, sizeof(aside), ASIDE_PREFIX "%s", file);
        bool moved = renameat(fd, file, fd, aside) == 0;
        return wla_wrap(err, "%s is not understood and %s", file,
                        moved ? "set aside" : "left alone");
}

int report_store_read(const char *state_directory, const struct report_name *name, struct buf *ret,
                      struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        char file[FILE_NAME_MAX];

        name_file(name, file);
        if (open_store(state_directory, &fd, err) < 0)
                return -1;
        if (file_read(fd, file, ret, err) == 0 && check(name, ret, err) == 0)
                return 0;
        return err->code == WLA_E_INPUT ? set_aside(fd, file, err) : -1;
}

int report_store_remove(const char *state_directory, const struct report_name *name,
                        struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        char file[FILE_NAME_MAX];

        name_file(name, file);
        if (open_store(state_directory, &fd, err) < 0)
                return -1;
        if (unlinkat(fd, file, 0) < 0 && errno != ENOENT)
                return wla_fail_errno(err, errno, "cannot remove %s", file);
        return 0;
}

int report_store_list(const char *state_directory,
                      int (*found)(void *userdata, const struct report_name *name,
                                   struct wla_error *err),
                      void *userdata, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        struct report_name name;
        int outcome = 0;

        if (open_store(state_directory, &fd, err) < 0)
                return -1;
        DIR *directory = fdopendir(fd);
        if (!directory)
                return wla_fail_errno(err, errno, "cannot list the trust reports");
        (void)TAKE_FD(fd);
        for (struct dirent *entry = readdir(directory); entry && outcome == 0;
             entry = readdir(directory)) {
                if (strncmp(entry->d_name, PARTIAL, strlen(PARTIAL)) == 0)
                        (void)unlinkat(dirfd(directory), entry->d_name, 0);
                else if (parse_name(entry->d_name, &name))
                        outcome = found(userdata, &name, err);
        }
        (void)closedir(directory);
        return outcome;
}
