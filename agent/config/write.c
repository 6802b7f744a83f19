/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "config/value.h"

#define SAMPLE_WIDTH 78u

static const char *const type_words[_CONFIG_TYPE_MAX] = {
        [CONFIG_TYPE_BOOL] = "yes|no",   [CONFIG_TYPE_NUMBER] = "NUMBER",
        [CONFIG_TYPE_SIZE] = "BYTES",    [CONFIG_TYPE_SECONDS] = "SECONDS",
        [CONFIG_TYPE_HANDLE] = "HANDLE", [CONFIG_TYPE_LEVEL] = "LEVEL",
        [CONFIG_TYPE_TEXT] = "TEXT",     [CONFIG_TYPE_PATH] = "PATH",
        [CONFIG_TYPE_SOCKET] = "PATH",   [CONFIG_TYPE_USERS] = "USER...",
        [CONFIG_TYPE_PATHS] = "PATH...",
};

/* Whether option i opens a section. */
static bool opens_section(size_t i) {
        return i == 0 || strcmp(config_options[i].section, config_options[i - 1].section) != 0;
}

static int finish(FILE *to) {
        return fflush(to) != 0 || ferror(to) ? -1 : 0;
}

int config_dump(const struct config *config, FILE *to) {
        for (size_t i = 0; i < config_option_count; i++) {
                if (opens_section(i))
                        (void)fprintf(to, "%s[%s]\n", i > 0 ? "\n" : "", config_options[i].section);
                (void)fprintf(to, "%s=", config_options[i].key);
                config_value_print(&config_options[i], config, to);
                (void)fputc('\n', to);
        }
        return finish(to);
}

static void write_comment(const char *text, FILE *to) {
        while (*text) {
                size_t length = strlen(text);

                if (length > SAMPLE_WIDTH) {
                        length = SAMPLE_WIDTH;
                        while (text[length] != ' ')
                                length--;
                }
                (void)fprintf(to, "# %.*s\n", (int)length, text);
                text += length;
                text += strspn(text, " ");
        }
}

int config_write_sample(FILE *to) {
        (void)fputs(
                "# Configuration of wlagentd; see wlagent.conf(5).  Options that are commented\n"
                "# out show their defaults.  Files named *.conf in wlagent.conf.d, next to\n"
                "# this file, are read after it, in the order of their names.\n",
                to);
        for (size_t i = 0; i < config_option_count; i++) {
                const struct config_option *option = &config_options[i];

                if (opens_section(i))
                        (void)fprintf(to, "\n[%s]\n", option->section);
                (void)fputc('\n', to);
                write_comment(option->help, to);
                (void)fprintf(to, "#%s=%s\n", option->key, option->fallback);
        }
        return finish(to);
}

/* scdoc(5) gives these a meaning. */
static void write_escaped(const char *text, FILE *to) {
        for (; *text; text++) {
                if (strchr("\\_*#<>~[", *text))
                        (void)fputc('\\', to);
                (void)fputc(*text, to);
        }
}

int config_write_manual(FILE *to) {
        for (size_t i = 0; i < config_option_count; i++) {
                const struct config_option *option = &config_options[i];

                if (opens_section(i))
                        (void)fprintf(to, "# [%s] SECTION\n\n", option->section);
                (void)fprintf(to, "*%s=*_%s_\n\t", option->key, type_words[option->type]);
                write_escaped(option->help, to);
                (void)fputs(" Default: _", to);
                write_escaped(option->fallback, to);
                (void)fputs("_\n\n", to);
        }
        return finish(to);
}
