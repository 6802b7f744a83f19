/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "config/ini_file.h"
#include "config/value.h"

#define PATH_SIZE 4096u

static const char hint_faults[] = "each is listed above; wlagentd --check-config checks again";

struct config *config_free(struct config *config) {
        if (!config)
                return NULL;

        for (size_t i = 0; i < config_option_count; i++)
                config_value_clear(&config_options[i], config);
        free(config->path);
        free(config);
        return NULL;
}

static int new_with_defaults(struct config **ret, struct wla_error *err) {
        _cleanup_config_ struct config *config = calloc(1, sizeof(*config));
        if (!config)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        for (size_t i = 0; i < config_option_count; i++)
                if (config_value_parse(&config_options[i], config_options[i].fallback, config,
                                       err) < 0)
                        return wla_wrap(err, "default of %s=", config_options[i].key);

        *ret = TAKE_PTR(config);
        return 0;
}

/* Drop-ins: what an editor or a package manager leaves behind has another ending. */
static int is_drop_in(const struct dirent *entry) {
        const char *ending = strrchr(entry->d_name, '.');

        return entry->d_name[0] != '.' && ending && strcmp(ending, ".conf") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_drop_in(const char *directory, const char *name, struct config *config,
                        struct config_faults *faults, struct wla_error *err) {
        char path[PATH_SIZE];

        if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path))
                return wla_fail(err, WLA_E_INPUT, "the path of %s is too long", name);
        return config_read_file(path, config, faults, err);
}

static int fail_directory(const char *directory, int errno_value, struct config_faults *faults,
                          struct wla_error *err) {
        struct wla_error cause = {0};

        if (errno_value == ENOENT)
                return 0;
        if (errno_value == ENOMEM)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        (void)wla_fail_errno(&cause, errno_value, "reading the directory");
        return config_fault(faults, directory, 0, &cause, err);
}

static int read_drop_ins(const char *main_path, struct config *config, struct config_faults *faults,
                         struct wla_error *err) {
        char directory[PATH_SIZE];
        struct dirent **entries = NULL;
        int result = 0;

        if ((size_t)snprintf(directory, sizeof(directory), "%s.d", main_path) >= sizeof(directory))
                return wla_fail(err, WLA_E_INPUT, "the path %s is too long", main_path);

        int count = scandir(directory, &entries, is_drop_in, by_name);
        if (count < 0)
                return fail_directory(directory, errno, faults, err);

        for (int i = 0; i < count; i++) {
                if (result == 0)
                        result = read_drop_in(directory, entries[i]->d_name, config, faults, err);
                free(entries[i]);
        }
        free(entries);
        return result;
}

static int read_files(const char *path, struct config *config, struct config_faults *faults,
                      struct wla_error *err) {
        config->path = strdup(path);
        if (!config->path)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        bool absent = strcmp(path, CONFIG_DEFAULT_PATH) == 0 && access(path, F_OK) < 0 &&
                      errno == ENOENT;
        if (!absent && config_read_file(path, config, faults, err) < 0)
                return -1;
        return read_drop_ins(path, config, faults, err);
}

/* Puts RuntimeDirectory= before a socket's path that is not absolute. */
static int place_socket(struct config *config, const struct config_option *option,
                        struct config_faults *faults, struct wla_error *err) {
        char **socket = (char **)(void *)((char *)config + option->offset);
        const size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
        struct wla_error cause = {0};
        char *path;

        if ((*socket)[0] == '/')
                return 0;
        if (asprintf(&path, "%s/%s", config->agent.runtime_directory, *socket) < 0)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        free(*socket);
        *socket = path;

        if (strlen(path) <= most)
                return 0;
        (void)wla_fail(&cause, WLA_E_INPUT,
                       "%s= below RuntimeDirectory= has %zu characters, and at most %zu fit",
                       option->key, strlen(path), most);
        return config_fault(faults, config->path ? config->path : "defaults", 0, &cause, err);
}

static bool is_socket(size_t i) {
        return config_options[i].type == CONFIG_TYPE_SOCKET;
}

static const char *socket_path(const struct config *config, size_t i) {
        return *(char *const *)(const void *)((const char *)config + config_options[i].offset);
}

/* Option i against those before it. */
static int check_distinct(const struct config *config, size_t i, struct config_faults *faults,
                          struct wla_error *err) {
        struct wla_error cause = {0};

        for (size_t j = 0; j < i; j++) {
                if (!is_socket(j) || strcmp(socket_path(config, i), socket_path(config, j)) != 0)
                        continue;
                (void)wla_fail(&cause, WLA_E_INPUT, "%s= and %s= are the same path",
                               config_options[i].key, config_options[j].key);
                return config_fault(faults, config->path ? config->path : "defaults", 0, &cause,
                                    err);
        }
        return 0;
}

static int place_sockets(struct config *config, struct config_faults *faults,
                         struct wla_error *err) {
        for (size_t i = 0; i < config_option_count; i++)
                if (is_socket(i) && (place_socket(config, &config_options[i], faults, err) < 0 ||
                                     check_distinct(config, i, faults, err) < 0))
                        return -1;
        return 0;
}

int config_read(const char *path, struct config **ret, struct buf *faults, struct wla_error *err) {
        _cleanup_config_ struct config *config = NULL;
        struct config_faults found = {.lines = faults};

        if (new_with_defaults(&config, err) < 0)
                return -1;
        if (path && read_files(path, config, &found, err) < 0)
                return -1;
        if (place_sockets(config, &found, err) < 0)
                return -1;

        if (found.count > 0)
                return wla_fail_hint(err, WLA_E_INPUT, hint_faults, "%s has %u fault%s",
                                     path ? path : "the built-in configuration", found.count,
                                     found.count == 1 ? "" : "s");
        *ret = TAKE_PTR(config);
        return 0;
}
