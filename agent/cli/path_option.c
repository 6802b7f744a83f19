/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/path_option.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

int path_option_take(const char *path, struct buf *to, const char **ret, struct wla_error *err) {
        char directory[PATH_MAX] = "";

        if (path[0] != '/' && (!getcwd(directory, sizeof(directory)) || directory[0] != '/'))
                return wla_fail_hint(err, WLA_E_INPUT, "write it from the root on",
                                     "where %s is cannot be told", path);
        if (strncmp(path, "./", 2) == 0)
                path += 2;

        if (path[0] != '/' && strcmp(directory, "/") != 0 &&
            buf_append_text(to, directory, err) < 0)
                return -1;
        if (buf_printf(to, err, "%s%s", path[0] == '/' ? "" : "/", path) < 0)
                return -1;
        *ret = buf_text(to, err);
        return *ret ? 0 : -1;
}
