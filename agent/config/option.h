/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The table of options.def, for those who read or write a configuration. */

#include <stdint.h>

#include "config/config.h"

enum config_type {
        CONFIG_TYPE_BOOL = 0, /* bool */
        CONFIG_TYPE_NUMBER,   /* uint64_t */
        CONFIG_TYPE_SIZE,     /* uint64_t, bytes */
        CONFIG_TYPE_SECONDS,  /* uint64_t, microseconds */
        CONFIG_TYPE_HANDLE,   /* uint64_t, TPM handle; 0 is written "none" */
        CONFIG_TYPE_LEVEL,    /* uint64_t, syslog(3) priority */
        CONFIG_TYPE_TEXT,     /* char *, printable */
        CONFIG_TYPE_PATH,     /* char *, absolute */
        CONFIG_TYPE_SOCKET,   /* char *, made absolute by RuntimeDirectory= */
        CONFIG_TYPE_USERS,    /* struct config_users */
        CONFIG_TYPE_PATHS,    /* struct config_paths */
        _CONFIG_TYPE_MAX
};

struct config_option {
        const char *section;
        const char *key;
        enum config_type type;
        size_t offset; /* in struct config */
        const char *fallback;
        uint64_t least;
        uint64_t most;
        const char *help;
};

extern const struct config_option config_options[];
extern const size_t config_option_count;

/* At least config_option_count, for arrays. */
#define CONFIG_OPTIONS_MAX 48u

/* NULL when there is none. */
const struct config_option *config_option_find(const char *section, const char *key);
const struct config_option *config_option_find_key(const char *key);
bool config_section_exists(const char *section);
