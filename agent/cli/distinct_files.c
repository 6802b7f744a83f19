/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/distinct_files.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli/input.h"

/* What exists is known by its inode, what has still to be made by its name in its directory. */
struct place {
        bool exists;
        bool in_directory;
        struct stat file;
        struct stat directory;
        const char *path;
        const char *name;
};

static int look_at(const char *path, struct stat *ret, bool *ret_exists, struct wla_error *err) {
        *ret_exists = stat(path, ret) == 0;
        if (!*ret_exists && errno != ENOENT && errno != ENOTDIR)
                return wla_fail_errno(err, errno, "cannot look at %s", path);
        return 0;
}

static int find_place(const struct used_file *file, struct place *ret, struct wla_error *err) {
        bool is_input = file->or_input && strcmp(file->path, "-") == 0;
        const char *path = is_input ? "/dev/stdin" : file->path;
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *directory = NULL;

        directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
        if (!directory)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        ret->path = path;
        ret->name = slash ? slash + 1 : path;
        if (look_at(path, &ret->file, &ret->exists, err) < 0)
                return -1;
        return look_at(directory, &ret->directory, &ret->in_directory, err);
}

static bool is_same(const struct stat *a, const struct stat *b) {
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool are_one(const struct place *a, const struct place *b) {
        if (a->exists && b->exists && is_same(&a->file, &b->file))
                return true;
        if (strcmp(a->path, b->path) == 0)
                return true;
        return a->in_directory && b->in_directory && is_same(&a->directory, &b->directory) &&
               strcmp(a->name, b->name) == 0;
}

static int check_two(const struct used_file *a, const struct used_file *b, struct wla_error *err) {
        struct place place_a = {0};
        struct place place_b = {0};

        if (find_place(a, &place_a, err) < 0 || find_place(b, &place_b, err) < 0)
                return -1;
        if (!are_one(&place_a, &place_b))
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, "what is written needs a name of its own",
                             "%s and %s would be one file: %s and %s", a->role, b->role,
                             a->or_input ? input_name(a->path) : a->path,
                             b->or_input ? input_name(b->path) : b->path);
}

int distinct_files_check(const struct used_file *files, size_t count, struct wla_error *err) {
        for (size_t i = 0; i < count; i++)
                for (size_t j = i + 1; j < count; j++)
                        if (files[i].path && files[j].path &&
                            (files[i].written || files[j].written) &&
                            check_two(&files[i], &files[j], err) < 0)
                                return -1;
        return 0;
}
