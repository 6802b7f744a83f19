/* SPDX-License-Identifier: Apache-2.0 */
#include "config/restart.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/option.h"
#include "scratch.h"
#include "suite.h"

static struct config *read_text(const char *path, const char *text) {
        _cleanup_buf_ struct buf faults = BUF_WITH_LIMIT(4096);
        struct config *config = NULL;
        struct wla_error err = {0};
        FILE *file = fopen(path, "we");

        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_msg(config_read(path, &config, &faults, &err) == 0, "%s", wla_error_text(&err));
        return config;
}

/* What is logged about going from first to next. */
static const char *told(const struct config *first, const struct config *next) {
        static char text[4096];
        FILE *log = tmpfile();
        int saved = dup(STDERR_FILENO);

        ck_assert_ptr_nonnull(log);
        ck_assert_int_ge(dup2(fileno(log), STDERR_FILENO), 0);
        config_tell_restart(first, next);
        ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
        ck_assert_int_eq(close(saved), 0);
        rewind(log);
        text[fread(text, 1, sizeof(text) - 1, log)] = '\0';
        ck_assert_int_eq(fclose(log), 0);
        return text;
}

static const char *other_value(const struct config_option *option) {
        switch (option->type) {
        case CONFIG_TYPE_BOOL:
                return strcmp(option->fallback, "yes") == 0 ? "no" : "yes";
        case CONFIG_TYPE_NUMBER:
                return "3";
        case CONFIG_TYPE_TEXT:
                return "root";
        case CONFIG_TYPE_PATH:
        case CONFIG_TYPE_PATHS:
        case CONFIG_TYPE_SOCKET:
                return "/other";
        default:
                return NULL;
        }
}

/* Of these sections a reload changes nothing. */
START_TEST(each_option_is_named) {
        struct scratch scratch;
        char path[320];
        unsigned count = 0;

        scratch_make(&scratch);
        (void)snprintf(path, sizeof(path), "%s", scratch_file(&scratch, "wlagent.conf"));
        _cleanup_config_ struct config *first = read_text(path, "");
        for (size_t i = 0; i < config_option_count; i++) {
                const struct config_option *option = &config_options[i];
                bool of_volumes = strcmp(option->section, "Volumes") == 0;
                bool of_both = strcmp(option->key, "VolumeSocket") == 0;
                char text[256];

                if (!of_volumes && strcmp(option->section, "WLS") != 0)
                        continue;
                ck_assert_ptr_nonnull(other_value(option));
                (void)snprintf(text, sizeof(text), "[%s]\n%s=%s\n", option->section, option->key,
                               other_value(option));
                _cleanup_config_ struct config *next = read_text(path, text);
                (void)snprintf(text, sizeof(text),
                               "%s= has changed and takes effect after a restart%s\n", option->key,
                               of_volumes && !of_both ? " of wlagent-volumed" : "");
                ck_assert_ptr_nonnull(strstr(told(first, next), text));
                count++;
        }
        ck_assert_uint_ge(count, 18);
        ck_assert_str_eq(told(first, first), "");
        scratch_remove(&scratch);
}
END_TEST

SUITE_MAIN("restart", each_option_is_named)
