/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A state directory with a key store that lives as long as one test. */

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sample_key_file.h"
#include "source/key_store.h"

struct temporary_store {
        char path[64];
};

static inline int remove_one(const char *path, const struct stat *facts, int type,
                             struct FTW *ftw) {
        (void)facts;
        (void)type;
        (void)ftw;
        return remove(path);
}

static inline struct temporary_store temporary_store_make(void) {
        struct temporary_store made = {.path = "/tmp/wlagent-test-store-XXXXXX"};
        char keys[128];

        ck_assert_ptr_nonnull(mkdtemp(made.path));
        (void)snprintf(keys, sizeof(keys), "%s/keys", made.path);
        ck_assert_int_eq(mkdir(keys, 0700), 0);
        return made;
}

static inline void temporary_store_remove(struct temporary_store *made) {
        (void)nftw(made->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define _cleanup_temporary_store_ __attribute__((cleanup(temporary_store_remove)))

static inline void temporary_store_path(const struct temporary_store *made, const char *file,
                                        char to[static 192]) {
        (void)snprintf(to, 192, "%s/keys/%s", made->path, file);
}

static inline void temporary_store_put(const struct temporary_store *made, const char *file,
                                       const void *data, size_t size) {
        char path[192];

        temporary_store_path(made, file, path);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
        (void)close(fd);
}
