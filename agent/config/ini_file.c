/* SPDX-License-Identifier: Apache-2.0 */
#include "config/ini_file.h"

#include <assert.h>
#include <ini.h>
#include <string.h>

#include "base/file.h"
#include "config/value.h"

/* Stands for a section that is not known; what is in it has no further faults. */
#define NO_SECTION "[?]"

struct reading {
        struct config *config;
        const char *path;
        const char *at;
        size_t left;
        unsigned line;
        unsigned set_in_line[CONFIG_OPTIONS_MAX]; /* 0: not in this file */
        struct config_faults *faults;
        struct wla_error *err;
        bool failed;
};

static const char hint_quoting[] = "wlagent.conf(5) describes the format";

int config_fault(struct config_faults *faults, const char *path, unsigned line,
                 const struct wla_error *cause, struct wla_error *err) {
        char text[sizeof(cause->buffer) + 128];

        wla_error_format(cause, text, sizeof(text));
        faults->count++;
        if (!path)
                return buf_printf(faults->lines, err, "%s\n", text);
        return line > 0 ? buf_printf(faults->lines, err, "%s:%u: %s\n", path, line, text)
                        : buf_printf(faults->lines, err, "%s: %s\n", path, text);
}

static void fault(struct reading *reading, const struct wla_error *cause) {
        if (config_fault(reading->faults, reading->path, reading->line, cause, reading->err) < 0)
                reading->failed = true;
}

static int check_section(const char *line, size_t size, struct wla_error *cause) {
        char name[CONFIG_LINE_MAX];

        if (line[size - 1] != ']')
                return wla_fail_hint(cause, WLA_E_INPUT, hint_quoting, "a section ends with ]");

        memcpy(name, line + 1, size - 2);
        name[size - 2] = '\0';
        if (!config_section_exists(name))
                return wla_fail(cause, WLA_E_INPUT, "there is no section [%s]", name);
        return 0;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r';
}

/* Whether the line is a key, =, and anything: inih also takes : for =, and a ; behind a blank for the
 * end of the line. */
static bool is_assignment(const char *line, size_t size) {
        for (size_t i = 0; i < size && line[i] != ':'; i++) {
                if (line[i] == '=')
                        return i > 0;
                if (line[i] == ';' && i > 0 && is_blank(line[i - 1]))
                        break;
        }
        return false;
}

/* What inih would take silently, or differently from what its writer meant. */
static int check_line(const char *line, size_t size, struct wla_error *cause) {
        if (memchr(line, '\0', size))
                return wla_fail(cause, WLA_E_INPUT, "the line holds a zero byte");
        if (size > CONFIG_LINE_MAX)
                return wla_fail(cause, WLA_E_INPUT, "the line has more than %u bytes",
                                CONFIG_LINE_MAX);
        if (size == 0 || *line == '#' || *line == ';')
                return 0;
        if (*line == '[')
                return check_section(line, size, cause);

        if (!is_assignment(line, size))
                return wla_fail_hint(cause, WLA_E_INPUT, hint_quoting, "this is not Key=Value");
        return 0;
}

/* The next line without its end and the blanks around it, as inih's ini_reader gets it. */
static char *next_line(char *to, int size, void *userdata) {
        struct reading *reading = userdata;
        struct wla_error cause = {0};

        if (reading->failed || reading->left == 0)
                return NULL;

        const char *line = reading->at;
        const char *end = memchr(line, '\n', reading->left);
        size_t length = end ? (size_t)(end - line) : reading->left;
        size_t taken = end ? length + 1 : length;
        reading->at += taken;
        reading->left -= taken;
        reading->line++;

        for (; length > 0 && is_blank(*line); line++)
                length--;
        while (length > 0 && is_blank(line[length - 1]))
                length--;

        if (check_line(line, length, &cause) < 0) {
                fault(reading, &cause);
                line = length > 0 && *line == '[' ? NO_SECTION : "";
                length = strlen(line);
        }
        assert(length < (size_t)size);
        memcpy(to, line, length);
        to[length] = '\0';
        return to;
}

static int find_option(const char *section, const char *key, const struct config_option **ret,
                       struct wla_error *cause) {
        if (!*section)
                return wla_fail(cause, WLA_E_INPUT, "%s= stands before the first section", key);

        *ret = config_option_find(section, key);
        if (*ret)
                return 0;

        const struct config_option *elsewhere = config_option_find_key(key);
        if (elsewhere)
                return wla_fail(cause, WLA_E_INPUT, "%s= belongs in section [%s]", key,
                                elsewhere->section);
        return wla_fail(cause, WLA_E_INPUT, "there is no option %s= in section [%s]", key, section);
}

static int set_option(struct reading *reading, const struct config_option *option,
                      const char *value, struct wla_error *cause) {
        unsigned *set_in_line = &reading->set_in_line[option - config_options];

        if (*set_in_line > 0)
                return wla_fail(cause, WLA_E_INPUT, "%s= is already set in line %u", option->key,
                                *set_in_line);
        *set_in_line = reading->line;
        if (config_value_parse(option, value, reading->config, cause) < 0)
                return wla_wrap(cause, "%s=", option->key);
        return 0;
}

static int on_value(void *userdata, const char *section, const char *key, const char *value) {
        struct reading *reading = userdata;
        const struct config_option *option;
        struct wla_error cause = {0};

        /* The section itself is the fault then, and has been told. */
        if (*section && !config_section_exists(section))
                return 1;

        if (find_option(section, key, &option, &cause) == 0 &&
            set_option(reading, option, value, &cause) == 0)
                return 1;

        if (cause.code == WLA_E_INPUT) {
                fault(reading, &cause);
        } else {
                *reading->err = cause;
                reading->failed = true;
        }
        return 1;
}

int config_read_file(const char *path, struct config *config, struct config_faults *faults,
                     struct wla_error *err) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(CONFIG_FILE_MAX);
        struct wla_error cause = {0};

        if (file_read_trusted(path, &content, &cause) < 0) {
                if (cause.code == WLA_E_BUSY) {
                        *err = cause;
                        return -1;
                }
                return config_fault(faults, NULL, 0, &cause, err);
        }

        struct reading reading = {
                .config = config,
                .path = path,
                .at = (const char *)content.data,
                .left = content.size,
                .faults = faults,
                .err = err,
        };
        int r = ini_parse_stream(next_line, &reading, on_value, &reading);
        if (reading.failed)
                return -1;
        if (r != 0)
                return wla_fail(err, WLA_E_SYSTEM, "%s: inih gave up in line %d", path, r);
        return 0;
}
