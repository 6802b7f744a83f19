/* SPDX-License-Identifier: Apache-2.0 */
#include "config/option.h"

#include <stddef.h>
#include <string.h>

#define FIELD_TYPE_BOOL    bool
#define FIELD_TYPE_NUMBER  uint64_t
#define FIELD_TYPE_SIZE    uint64_t
#define FIELD_TYPE_SECONDS uint64_t
#define FIELD_TYPE_HANDLE  uint64_t
#define FIELD_TYPE_LEVEL   uint64_t
#define FIELD_TYPE_TEXT    char *
#define FIELD_TYPE_PATH    char *
#define FIELD_TYPE_SOCKET  char *
#define FIELD_TYPE_USERS   struct config_users
#define FIELD_TYPE_PATHS   struct config_paths

#define OPTION(section, key, type, field, fallback, least, most, help)                       \
        _Static_assert(__builtin_types_compatible_p(__typeof__(((struct config *)0)->field), \
                                                    FIELD_TYPE_##type),                      \
                       #key " does not fit its field");
#include "config/options.def"
#undef OPTION

const struct config_option config_options[] = {
#define OPTION(section, key, type, field, fallback, least, most, help)                        \
        {#section, #key, CONFIG_TYPE_##type, offsetof(struct config, field), fallback, least, \
         most,     help},
#include "config/options.def"
#undef OPTION
};

const size_t config_option_count = sizeof(config_options) / sizeof(config_options[0]);

_Static_assert(sizeof(config_options) / sizeof(config_options[0]) <= CONFIG_OPTIONS_MAX,
               "raise CONFIG_OPTIONS_MAX");

const struct config_option *config_option_find(const char *section, const char *key) {
        for (size_t i = 0; i < config_option_count; i++)
                if (strcmp(config_options[i].section, section) == 0 &&
                    strcmp(config_options[i].key, key) == 0)
                        return &config_options[i];
        return NULL;
}

const struct config_option *config_option_find_key(const char *key) {
        for (size_t i = 0; i < config_option_count; i++)
                if (strcmp(config_options[i].key, key) == 0)
                        return &config_options[i];
        return NULL;
}

bool config_section_exists(const char *section) {
        for (size_t i = 0; i < config_option_count; i++)
                if (strcmp(config_options[i].section, section) == 0)
                        return true;
        return false;
}
