/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "source/key_store.h"

#define NAMES_MAX 65536u

/* The length of the key's name in the name of a file, or 0. */
static size_t key_name_length(const char *file_name) {
        size_t length = strlen(file_name);

        if (length <= strlen(".json") || strcmp(file_name + length - strlen(".json"), ".json") != 0)
                return 0;

        length -= strlen(".json");
        return key_name_valid(file_name, length) ? length : 0;
}

static int append(struct key_names *names, size_t *allocated, const char *name, size_t length,
                  struct wla_error *err) {
        if (names->count == *allocated) {
                size_t wanted = *allocated > 0 ? *allocated * 2 : 16;
                void *larger = NULL;

                if (wanted <= NAMES_MAX)
                        larger = realloc(names->names, wanted * sizeof(names->names[0]));
                if (!larger)
                        return wla_fail(err, WLA_E_BUSY, "no memory for more than %zu key names",
                                        names->count);
                names->names = larger;
                *allocated = wanted;
        }

        memcpy(names->names[names->count], name, length);
        names->names[names->count][length] = '\0';
        names->count++;
        return 0;
}

static int collect(DIR *directory, struct key_names *names, struct wla_error *err) {
        size_t allocated = 0;

        for (;;) {
                errno = 0;
                const struct dirent *entry = readdir(directory);
                if (!entry && errno != 0)
                        return wla_fail_errno(err, errno, "reading it");
                if (!entry)
                        return 0;

                size_t length = key_name_length(entry->d_name);
                if (length > 0 && append(names, &allocated, entry->d_name, length, err) < 0)
                        return -1;
        }
}

static int compare_names(const void *a, const void *b) {
        return strcmp(a, b);
}

int key_store_list(const struct key_store *store, struct key_names *ret, struct wla_error *err) {
        _cleanup_key_names_ struct key_names names = {0};
        _cleanup_close_ int fd = -1;

        /* Opened anew: a duplicate would share its position in the directory. */
        fd = openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return wla_fail_errno(err, errno, "key store %s", store->directory);

        DIR *directory = fdopendir(fd);
        if (!directory)
                return wla_fail_errno(err, errno, "key store %s", store->directory);

        (void)TAKE_FD(fd);
        int outcome = collect(directory, &names, err);
        (void)closedir(directory);
        if (outcome < 0)
                return wla_wrap(err, "key store %s", store->directory);

        if (names.count > 0)
                qsort(names.names, names.count, sizeof(names.names[0]), compare_names);
        *ret = names;
        names = (struct key_names){0};
        return 0;
}

void key_names_clear(struct key_names *names) {
        free(names->names);
        *names = (struct key_names){0};
}
