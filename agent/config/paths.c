/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "config/value.h"

#define SEPARATORS " \t"

static int check_printable(const char *text, struct wla_error *err) {
        for (const char *at = text; *at; at++)
                if (*at != '\t' && (*at < ' ' || *at > '~'))
                        return wla_fail(err, WLA_E_INPUT, "character %zu is not printable ASCII",
                                        (size_t)(at - text) + 1);
        return 0;
}

/* Whether every component has a name of its own. */
static bool is_shortest(const char *path) {
        while (*path == '/') {
                size_t length = strcspn(++path, "/");

                if (length == 0 || (length == 1 && path[0] == '.') ||
                    (length == 2 && path[0] == '.' && path[1] == '.'))
                        return false;
                path += length;
        }
        return true;
}

static int check_directory(const char *path, struct wla_error *err) {
        if (path[0] != '/')
                return wla_fail(err, WLA_E_INPUT, "\"%s\" is not an absolute path", path);
        if (path[1] == '\0')
                return wla_fail(err, WLA_E_INPUT, "\"/\" would allow every file");
        if (!is_shortest(path))
                return wla_fail(err, WLA_E_INPUT,
                                "\"%s\" holds \".\", \"..\", \"//\" or a \"/\" at its end", path);
        return 0;
}

static int add_path(struct config_paths *paths, const char *path, struct wla_error *err) {
        if (check_directory(path, err) < 0)
                return -1;
        if (paths->count == CONFIG_PATHS_MAX)
                return wla_fail(err, WLA_E_INPUT, "more than %u paths", CONFIG_PATHS_MAX);

        paths->paths[paths->count++] = path;
        return 0;
}

/* Cuts the storage into paths. */
static int split(struct config_paths *paths, struct wla_error *err) {
        for (char *at = paths->storage + strspn(paths->storage, SEPARATORS); *at;) {
                char *end = at + strcspn(at, SEPARATORS);
                char *next = end + strspn(end, SEPARATORS);

                *end = '\0';
                if (add_path(paths, at, err) < 0)
                        return -1;
                at = next;
        }
        return 0;
}

int config_paths_parse(const char *text, struct config_paths *ret, struct wla_error *err) {
        __attribute__((cleanup(config_paths_clear))) struct config_paths paths = {0};

        if (check_printable(text, err) < 0)
                return -1;
        paths.text = strdup(text);
        paths.storage = strdup(text);
        if (!paths.text || !paths.storage)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (split(&paths, err) < 0)
                return -1;

        *ret = paths;
        paths = (struct config_paths){0};
        return 0;
}

void config_paths_clear(struct config_paths *paths) {
        file_freep(&paths->text);
        file_freep(&paths->storage);
        *paths = (struct config_paths){0};
}
