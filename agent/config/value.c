/* SPDX-License-Identifier: Apache-2.0 */
#include "config/value.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <syslog.h>

#include "base/clock.h"
#include "base/file.h"

/* wlagent setup keeps the storage key there (TCG TPM v2.0 Provisioning Guidance, table 2). */
#define STORAGE_KEY_HANDLE 0x81000001u

static const struct {
        const char *name;
        bool value;
} bool_names[] = {
        {"yes", true}, {"true", true},   {"on", true},
        {"no", false}, {"false", false}, {"off", false},
};

static const struct {
        const char *name;
        int level;
} level_names[] = {
        {"err", LOG_ERR},   {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
        {"info", LOG_INFO}, {"debug", LOG_DEBUG},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void *field_of(const struct config_option *option, struct config *config) {
        return (char *)config + option->offset;
}

static int parse_bool(const char *text, bool *ret, struct wla_error *err) {
        for (size_t i = 0; i < COUNT(bool_names); i++)
                if (strcmp(bool_names[i].name, text) == 0) {
                        *ret = bool_names[i].value;
                        return 0;
                }
        return wla_fail(err, WLA_E_INPUT, "\"%s\" is neither yes nor no", text);
}

static int parse_level(const char *text, uint64_t *ret, struct wla_error *err) {
        for (size_t i = 0; i < COUNT(level_names); i++)
                if (strcmp(level_names[i].name, text) == 0) {
                        *ret = (uint64_t)level_names[i].level;
                        return 0;
                }
        return wla_fail(err, WLA_E_INPUT, "\"%s\" is none of err, warning, notice, info, debug",
                        text);
}

static int digit_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return INT_MAX;
}

/* Reads digits and returns what is behind them, or NULL when there are none or too many.  A leading
 * zero is refused, since it means octal to some. */
static const char *read_digits(const char *text, unsigned base, uint64_t *ret) {
        const char *at = text;
        uint64_t value = 0;

        for (; digit_value(*at) < (int)base; at++)
                if (__builtin_mul_overflow(value, base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit_value(*at), &value))
                        return NULL;
        if (at == text || (base == 10 && text[0] == '0' && at - text > 1))
                return NULL;

        *ret = value;
        return at;
}

static int check_range(const struct config_option *option, const char *text, uint64_t value,
                       struct wla_error *err) {
        if (value >= option->least && value <= option->most)
                return 0;
        return wla_fail(err, WLA_E_INPUT, "%s is not between %" PRIu64 " and %" PRIu64, text,
                        option->least, option->most);
}

static int parse_number(const struct config_option *option, const char *text, uint64_t *ret,
                        struct wla_error *err) {
        uint64_t value;
        const char *rest = read_digits(text, 10, &value);

        if (!rest || *rest)
                return wla_fail(err, WLA_E_INPUT, "\"%s\" is not a whole number%s", text,
                                option->type == CONFIG_TYPE_SECONDS ? " of seconds" : "");
        if (check_range(option, text, value, err) < 0)
                return -1;

        *ret = option->type == CONFIG_TYPE_SECONDS ? value * USEC_PER_SEC : value;
        return 0;
}

static int parse_size(const struct config_option *option, const char *text, uint64_t *ret,
                      struct wla_error *err) {
        uint64_t value;
        uint64_t unit = 1;
        const char *rest = read_digits(text, 10, &value);

        if (rest && (*rest == 'K' || *rest == 'M'))
                unit = *rest++ == 'K' ? 1024 : 1024 * 1024;
        if (!rest || *rest || __builtin_mul_overflow(value, unit, &value))
                return wla_fail(err, WLA_E_INPUT,
                                "\"%s\" is not a size in bytes, such as 4096, 256K or 1M", text);
        if (check_range(option, text, value, err) < 0)
                return -1;

        *ret = value;
        return 0;
}

static int parse_handle(const struct config_option *option, const char *text, uint64_t *ret,
                        struct wla_error *err) {
        uint64_t value = 0;

        if (strcmp(text, "none") == 0) {
                *ret = 0;
                return 0;
        }

        const char *rest = strncmp(text, "0x", 2) == 0 ? read_digits(text + 2, 16, &value) : NULL;
        if (!rest || *rest || value < option->least || value > option->most)
                return wla_fail(err, WLA_E_INPUT,
                                "\"%s\" is neither none nor a handle between 0x%" PRIx64
                                " and 0x%" PRIx64,
                                text, option->least, option->most);
        if (value == STORAGE_KEY_HANDLE)
                return wla_fail(err, WLA_E_INPUT, "%s is where the storage key is", text);

        *ret = value;
        return 0;
}

static int check_text(const char *text, struct wla_error *err) {
        if (!*text)
                return wla_fail(err, WLA_E_INPUT, "a value is missing");
        for (const char *at = text; *at; at++)
                if (*at < ' ' || *at > '~')
                        return wla_fail(err, WLA_E_INPUT, "character %zu is not printable ASCII",
                                        (size_t)(at - text) + 1);
        return 0;
}

static int check_path(const struct config_option *option, const char *text, struct wla_error *err) {
        const size_t socket_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

        if (check_text(text, err) < 0)
                return -1;
        if (option->type == CONFIG_TYPE_PATH && text[0] != '/')
                return wla_fail(err, WLA_E_INPUT, "\"%s\" is not an absolute path", text);
        if (option->type == CONFIG_TYPE_SOCKET && strlen(text) > socket_max)
                return wla_fail(err, WLA_E_INPUT,
                                "the path of a socket has at most %zu characters, not %zu",
                                socket_max, strlen(text));
        return 0;
}

static int parse_text(const struct config_option *option, const char *text, char **field,
                      struct wla_error *err) {
        if ((option->type == CONFIG_TYPE_TEXT ? check_text(text, err)
                                              : check_path(option, text, err)) < 0)
                return -1;

        char *copy = strdup(text);
        if (!copy)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        free(*field);
        *field = copy;
        return 0;
}

static int parse_users(const char *text, struct config_users *field, struct wla_error *err) {
        struct config_users users = {0};

        if (config_users_parse(text, &users, err) < 0)
                return -1;

        free(field->text);
        *field = users;
        return 0;
}

static int parse_paths(const char *text, struct config_paths *field, struct wla_error *err) {
        struct config_paths paths = {0};

        if (config_paths_parse(text, &paths, err) < 0)
                return -1;

        config_paths_clear(field);
        *field = paths;
        return 0;
}

int config_value_parse(const struct config_option *option, const char *text, struct config *config,
                       struct wla_error *err) {
        void *field = field_of(option, config);

        switch (option->type) {
        case CONFIG_TYPE_BOOL:
                return parse_bool(text, field, err);
        case CONFIG_TYPE_NUMBER:
        case CONFIG_TYPE_SECONDS:
                return parse_number(option, text, field, err);
        case CONFIG_TYPE_SIZE:
                return parse_size(option, text, field, err);
        case CONFIG_TYPE_HANDLE:
                return parse_handle(option, text, field, err);
        case CONFIG_TYPE_LEVEL:
                return parse_level(text, field, err);
        case CONFIG_TYPE_USERS:
                return parse_users(text, field, err);
        case CONFIG_TYPE_PATHS:
                return parse_paths(text, field, err);
        case CONFIG_TYPE_TEXT:
        case CONFIG_TYPE_PATH:
        case CONFIG_TYPE_SOCKET:
        case _CONFIG_TYPE_MAX:
                break;
        }
        return parse_text(option, text, field, err);
}

static const char *level_name(uint64_t level) {
        for (size_t i = 0; i < COUNT(level_names); i++)
                if ((uint64_t)level_names[i].level == level)
                        return level_names[i].name;
        return "info";
}

static void print_size(uint64_t value, FILE *to) {
        if (value >= 1024 * 1024 && value % (1024 * 1024) == 0)
                (void)fprintf(to, "%" PRIu64 "M", value / (1024 * 1024));
        else if (value >= 1024 && value % 1024 == 0)
                (void)fprintf(to, "%" PRIu64 "K", value / 1024);
        else
                (void)fprintf(to, "%" PRIu64, value);
}

static void print_handle(uint64_t value, FILE *to) {
        if (value == 0)
                (void)fputs("none", to);
        else
                (void)fprintf(to, "0x%" PRIx64, value);
}

void config_value_print(const struct config_option *option, const struct config *config, FILE *to) {
        const void *field = (const char *)config + option->offset;

        switch (option->type) {
        case CONFIG_TYPE_BOOL:
                (void)fputs(*(const bool *)field ? "yes" : "no", to);
                return;
        case CONFIG_TYPE_NUMBER:
                (void)fprintf(to, "%" PRIu64, *(const uint64_t *)field);
                return;
        case CONFIG_TYPE_SECONDS:
                (void)fprintf(to, "%" PRIu64, *(const uint64_t *)field / USEC_PER_SEC);
                return;
        case CONFIG_TYPE_SIZE:
                print_size(*(const uint64_t *)field, to);
                return;
        case CONFIG_TYPE_HANDLE:
                print_handle(*(const uint64_t *)field, to);
                return;
        case CONFIG_TYPE_LEVEL:
                (void)fputs(level_name(*(const uint64_t *)field), to);
                return;
        case CONFIG_TYPE_USERS:
                (void)fputs(((const struct config_users *)field)->text, to);
                return;
        case CONFIG_TYPE_PATHS:
                (void)fputs(((const struct config_paths *)field)->text, to);
                return;
        case CONFIG_TYPE_TEXT:
        case CONFIG_TYPE_PATH:
        case CONFIG_TYPE_SOCKET:
        case _CONFIG_TYPE_MAX:
                break;
        }
        (void)fputs(*(char *const *)field, to);
}

void config_value_clear(const struct config_option *option, struct config *config) {
        void *field = field_of(option, config);

        switch (option->type) {
        case CONFIG_TYPE_TEXT:
        case CONFIG_TYPE_PATH:
        case CONFIG_TYPE_SOCKET:
                file_freep(field);
                return;
        case CONFIG_TYPE_USERS:
                file_freep(&((struct config_users *)field)->text);
                return;
        case CONFIG_TYPE_PATHS:
                config_paths_clear(field);
                return;
        default:
                return;
        }
}
