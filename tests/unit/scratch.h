/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A directory of a test's own, removed with the files in it. */

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct scratch {
        char path[64];
};

static inline void scratch_make(struct scratch *scratch) {
        (void)snprintf(scratch->path, sizeof(scratch->path), "/tmp/wlagent-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(scratch->path));
}

/* path of a file in it; valid until the next call. */
static inline const char *scratch_file(const struct scratch *scratch, const char *name) {
        static char path[320];

        (void)snprintf(path, sizeof(path), "%s/%s", scratch->path, name);
        return path;
}

static inline void scratch_remove(const struct scratch *scratch) {
        DIR *directory = opendir(scratch->path);

        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                (void)unlinkat(dirfd(directory), entry->d_name, 0);
        (void)closedir(directory);
        ck_assert_int_eq(rmdir(scratch->path), 0);
}
