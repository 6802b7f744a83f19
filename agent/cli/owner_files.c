/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner_files.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* One that is read, by the name that the configuration has for it. */
static int check_one(const char *role, const char *path, const struct used_files *written,
                     struct wla_error *err) {
        for (size_t i = 0; i < written->count; i++) {
                const struct used_file pair[] = {{.role = role, .path = path}, written->files[i]};

                if (distinct_files_check(pair, 2, err) < 0)
                        return -1;
        }
        return 0;
}

static int check_in(const char *role, const char *directory, const char *name,
                    const struct used_files *written, struct wla_error *err) {
        char path[PATH_MAX];
        int size = snprintf(path, sizeof(path), "%s/%s", directory, name);

        if (size < 0 || (size_t)size >= sizeof(path))
                return wla_fail(err, WLA_E_INPUT, "%s: the path %.80s... is too long", role, path);
        return check_one(role, path, written, err);
}

/* By whichever name. */
static int check_entries(const char *role, const char *directory, const struct used_files *written,
                         struct wla_error *err) {
        DIR *list = opendir(directory);
        const struct dirent *entry;
        int outcome = 0;

        while (list && outcome == 0 && (entry = readdir(list)))
                if (entry->d_name[0] != '.')
                        outcome = check_in(role, directory, entry->d_name, written, err);
        if (list)
                (void)closedir(list);
        return outcome;
}

/* A file that is no certificate, whatever its name, would be the end of all trust in there. */
static int check_directory(const char *role, const char *directory,
                           const struct used_files *written, struct wla_error *err) {
        for (size_t i = 0; i < written->count; i++) {
                const char *path = written->files[i].path;
                const char *slash = path ? strrchr(path, '/') : NULL;

                if (path && check_in(role, directory, slash ? slash + 1 : path, written, err) < 0)
                        return -1;
        }
        return check_entries(role, directory, written, err);
}

int owner_files_check(const struct owner_config *config, const struct used_files *written,
                      struct wla_error *err) {
        const char *directory = config->values[OWNER_TRUSTED_CA_DIRECTORY];
        const char *envelope = config->values[OWNER_ENVELOPE_PRIVATE_KEY];

        if (!written)
                return 0;
        if ((config->path && check_one("owner.conf", config->path, written, err) < 0) ||
            (*envelope && check_one("ENVELOPE_PRIVATE_KEY", envelope, written, err) < 0))
                return -1;
        return *directory ? check_directory("TRUSTED_CA_DIRECTORY", directory, written, err) : 0;
}
