/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner_config.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/private_file.h"

#define PASSWORD     "WPM_SERVICE_PASSWORD"
#define PASSWORD_MAX 255u /* of AAS */

static const char *const names[_OWNER_SETTING_MAX] = {
        [OWNER_KBS_BASE_URL] = "KBS_BASE_URL",
        [OWNER_KBS_ENDPOINT_URL] = "KBS_ENDPOINT_URL",
        [OWNER_AAS_API_URL] = "AAS_API_URL",
        [OWNER_WPM_SERVICE_USERNAME] = "WPM_SERVICE_USERNAME",
        [OWNER_TRUSTED_CA_DIRECTORY] = "TRUSTED_CA_DIRECTORY",
        [OWNER_ENVELOPE_PRIVATE_KEY] = "ENVELOPE_PRIVATE_KEY",
        [OWNER_KEYPROVIDER_NAME] = "OCICRYPT_KEYPROVIDER_NAME",
        [OWNER_ALLOW_TLS12] = "ALLOW_TLS12",
};

static const char hint_set[] = "set it in ~/.config/wlagent/owner.conf or in the environment; "
                               "wlagent-owner.conf(5) has all of them";

void owner_config_done(struct owner_config *config) {
        config->password = wla_secret_free(config->password);
        file_freep(&config->path);
}

static int take_value(struct owner_config *config, enum owner_setting setting, const char *value,
                      size_t size, struct wla_error *err) {
        if (size == 0 || size >= OWNER_VALUE_SIZE)
                return wla_fail(err, WLA_E_INPUT, "%s has to have 1 to %u bytes", names[setting],
                                OWNER_VALUE_SIZE - 1);
        for (size_t i = 0; i < size; i++)
                if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
                        return wla_fail(err, WLA_E_INPUT, "%s holds a control character",
                                        names[setting]);
        memcpy(config->values[setting], value, size);
        config->values[setting][size] = '\0';
        if (setting == OWNER_ALLOW_TLS12 && strcmp(config->values[setting], "yes") != 0 &&
            strcmp(config->values[setting], "no") != 0)
                return wla_fail(err, WLA_E_INPUT, "%s has to be yes or no", names[setting]);
        return 0;
}

static int take_password(struct owner_config *config, const char *value, size_t size,
                         struct wla_error *err) {
        struct wla_secret *password;

        if (size == 0 || size > PASSWORD_MAX)
                return wla_fail(err, WLA_E_INPUT, PASSWORD " has to have 1 to %u bytes",
                                PASSWORD_MAX);
        if (wla_secret_new(size, &password, err) < 0)
                return -1;
        memcpy(wla_secret_fill(password), value, size);
        wla_secret_free(config->password);
        config->password = password;
        return 0;
}

static bool name_is(const char *line, size_t size, const char *name) {
        return size == strlen(name) && memcmp(line, name, size) == 0;
}

static int take_line(struct owner_config *config, const char *line, size_t size,
                     struct wla_error *err) {
        const char *equals = memchr(line, '=', size);
        size_t name = equals ? (size_t)(equals - line) : 0;

        if (!equals)
                return wla_fail(err, WLA_E_INPUT, "this is not NAME=VALUE");

        const char *value = equals + 1;
        size_t value_size = size - name - 1;
        if (name_is(line, name, PASSWORD))
                return config->password ? wla_fail(err, WLA_E_INPUT, PASSWORD " is set twice")
                                        : take_password(config, value, value_size, err);
        for (unsigned i = 0; i < _OWNER_SETTING_MAX; i++) {
                if (!name_is(line, name, names[i]))
                        continue;
                if (config->values[i][0])
                        return wla_fail(err, WLA_E_INPUT, "%s is set twice", names[i]);
                return take_value(config, i, value, value_size, err);
        }
        return wla_fail_hint(err, WLA_E_INPUT, "wlagent-owner.conf(5) has the names",
                             "there is no such setting");
}

int owner_config_parse(const struct wla_secret *text, const char *name, struct owner_config *ret,
                       struct wla_error *err) {
        const char *at = (const char *)wla_secret_view(text).data;
        const char *end = at + wla_secret_view(text).size;
        struct owner_config config = {0};

        for (unsigned line = 1; at < end; line++) {
                const char *newline = memchr(at, '\n', (size_t)(end - at));
                size_t size = (size_t)((newline ? newline : end) - at);

                if (size > 0 && *at != '#' && take_line(&config, at, size, err) < 0) {
                        owner_config_done(&config);
                        return wla_wrap(err, "%s:%u", name, line);
                }
                at += size + 1;
        }
        *ret = config;
        return 0;
}

/* NULL where nobody says which home this is. */
static int find_file(char **ret, struct wla_error *err) {
        const char *directory = secure_getenv("XDG_CONFIG_HOME");
        const char *home = secure_getenv("HOME");
        int size = 0;

        *ret = NULL;
        if (directory && *directory == '/')
                size = asprintf(ret, "%s/wlagent/owner.conf", directory);
        else if (home && *home == '/')
                size = asprintf(ret, "%s/.config/wlagent/owner.conf", home);
        return size < 0 ? wla_fail(err, WLA_E_BUSY, "out of memory") : 0;
}

static int read_file(const char *path, struct owner_config *config, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *text = NULL;

        if (private_file_read(path, OWNER_FILE_MAX, &text, err) < 0) {
                if (err->code != WLA_E_NOT_FOUND)
                        return -1;
                *err = (struct wla_error){0};
                return 0;
        }
        return owner_config_parse(text, path, config, err);
}

static int read_environment(struct owner_config *config, struct wla_error *err) {
        char *password = secure_getenv(PASSWORD);

        for (unsigned i = 0; i < _OWNER_SETTING_MAX; i++) {
                const char *value = secure_getenv(names[i]);

                if (value && take_value(config, i, value, strlen(value), err) < 0)
                        return wla_wrap(err, "the environment");
        }
        if (!password)
                return 0;
        if (take_password(config, password, strlen(password), err) < 0)
                return wla_wrap(err, "the environment");
        OPENSSL_cleanse(password, strlen(password));
        return 0;
}

int owner_config_read(struct owner_config *ret, struct wla_error *err) {
        struct owner_config config = {0};
        _cleanup_free_ char *path = NULL;

        if (find_file(&path, err) < 0)
                return -1;
        if ((path && read_file(path, &config, err) < 0) || read_environment(&config, err) < 0) {
                owner_config_done(&config);
                return -1;
        }
        config.path = TAKE_PTR(path);
        if (!config.values[OWNER_KEYPROVIDER_NAME][0])
                (void)snprintf(config.values[OWNER_KEYPROVIDER_NAME], OWNER_VALUE_SIZE, "isecl");
        *ret = config;
        return 0;
}

int owner_config_need(const struct owner_config *config, enum owner_setting setting,
                      const char **ret, struct wla_error *err) {
        if (!config->values[setting][0])
                return wla_fail_hint(err, WLA_E_INPUT, hint_set, "%s is not set", names[setting]);
        *ret = config->values[setting];
        return 0;
}
