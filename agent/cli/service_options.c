/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/service_options.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/uuid.h"
#include "config/ini_file.h"
#include "config/value.h"
#include "source/key_origin.h"

#define NONE          "none"
#define USER_NAME_MAX 120u

/* SMBIOS type 1, as the kernel writes it. */
#define FIRMWARE_UUID     "/sys/class/dmi/id/product_uuid"
#define FIRMWARE_UUID_MAX 4096u

_Static_assert(CONFIG_LINE_MAX < SERVICE_VALUE_SIZE, "a line does not fit");

static int value_in_force(const struct config *config, const struct config_option *option,
                          char to[static SERVICE_VALUE_SIZE], struct wla_error *err) {
        FILE *text = fmemopen(to, SERVICE_VALUE_SIZE, "w");

        if (!text)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        config_value_print(option, config, text);
        if (fclose(text) != 0)
                return wla_fail(err, WLA_E_INPUT, "%s= is too long", option->key);
        return 0;
}

/* value: NULL for what is in force, and nothing when that is the default. */
static int choose(const struct config *config, struct service_options *to, const char *section,
                  const char *key, const char *value, struct wla_error *err) {
        struct service_option *option = &to->options[to->count];

        option->option = config_option_find(section, key);
        if (!value) {
                if (value_in_force(config, option->option, option->value, err) < 0)
                        return -1;
                if (strcmp(option->value, option->option->fallback) != 0)
                        to->count++;
                return 0;
        }
        /* wlagentd would not start with a line that its parser refuses. */
        if (strlen(key) + 1 + strlen(value) > CONFIG_LINE_MAX)
                return wla_fail(err, WLA_E_INPUT, "the line %s= would have more than %u bytes", key,
                                CONFIG_LINE_MAX);
        (void)snprintf(option->value, sizeof(option->value), "%s", value);
        to->count++;
        return 0;
}

/* One that has to be told once; from then on it is in force. */
static int choose_required(const struct setup_task_context *context, struct service_options *to,
                           enum answer answer, const char *key, const char *value,
                           struct wla_error *err) {
        size_t before = to->count;
        const char *ignored;

        if (choose(context->config, to, "WLS", key, value, err) < 0)
                return -1;
        return to->count > before ? 0 : answers_require(context->answers, answer, &ignored, err);
}

static int choose_url(const struct setup_task_context *context, struct service_options *to,
                      enum answer answer, const char *key, struct wla_error *err) {
        const char *text = answers_text(context->answers, answer);
        char url[BROKER_URL_SIZE];

        if (text && broker_url_parse(text, url, err) < 0)
                return wla_wrap(err, "%s", answer_name(answer));
        return choose_required(context, to, answer, key, text ? url : NULL, err);
}

static int choose_user(const struct setup_task_context *context, struct service_options *to,
                       struct wla_error *err) {
        static const char set[] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.@_-";
        const char *text = answers_text(context->answers, ANSWER_WLA_SERVICE_USERNAME);

        if (text && (strspn(text, set) != strlen(text) || strlen(text) > USER_NAME_MAX))
                return wla_fail(err, WLA_E_INPUT,
                                "WLA_SERVICE_USERNAME has at most %u letters, digits, and . @ _ -",
                                USER_NAME_MAX);
        return choose_required(context, to, ANSWER_WLA_SERVICE_USERNAME, "ServiceUser", text, err);
}

/* Of the broker's base URL the origin counts, and those that are allowed already stay. */
static int choose_origin(const struct setup_task_context *context, struct service_options *to,
                         struct wla_error *err) {
        const char *text = answers_text(context->answers, ANSWER_KBS_BASE_URL);
        const char *present = context->config->wls.allowed_key_origins;
        char url[BROKER_URL_SIZE];
        struct key_origins origins = {0};
        struct key_origin origin;
        bool has = false;

        if (!text)
                return choose(context->config, to, "WLS", "AllowedKeyOrigins", NULL, err);
        if (strcmp(present, NONE) == 0)
                present = "";
        if (broker_url_parse(text, url, err) < 0 ||
            key_origin_parse(url, strlen("https://") + strcspn(url + strlen("https://"), "/"),
                             &origin, err) < 0)
                return wla_wrap(err, "KBS_BASE_URL");
        if (key_origins_parse(present, &origins, err) < 0)
                return wla_wrap(err, "AllowedKeyOrigins=");

        for (size_t i = 0; i < origins.count; i++)
                has |= strcmp(origins.origins[i].text, origin.text) == 0;
        int size = snprintf(url, sizeof(url), "%s%s%s", present, *present && !has ? " " : "",
                            has ? "" : origin.text);
        if (size < 0 || (size_t)size >= sizeof(url))
                return wla_fail(err, WLA_E_INPUT, "AllowedKeyOrigins= gets too long");
        return choose(context->config, to, "WLS", "AllowedKeyOrigins", url, err);
}

static int choose_level(const struct setup_task_context *context, struct service_options *to,
                        struct wla_error *err) {
        static const struct {
                const char *theirs;
                const char *ours;
        } levels[] = {
                {"panic", "err"},       {"fatal", "err"}, {"error", "err"},   {"warn", "warning"},
                {"warning", "warning"}, {"info", "info"}, {"debug", "debug"}, {"trace", "debug"},
        };
        const char *text = answers_text(context->answers, ANSWER_LOG_LEVEL);

        if (!text)
                return choose(context->config, to, "Agent", "LogLevel", NULL, err);
        for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
                if (strcasecmp(text, levels[i].theirs) == 0)
                        return choose(context->config, to, "Agent", "LogLevel", levels[i].ours,
                                      err);
        return wla_fail(err, WLA_E_INPUT,
                        "LOG_LEVEL is one of panic, fatal, error, warning, info, debug and trace");
}

static int choose_verification(const struct setup_task_context *context, struct service_options *to,
                               struct wla_error *err) {
        const char *text = answers_text(context->answers,
                                        ANSWER_SKIP_FLAVOR_SIGNATURE_VERIFICATION);
        const char *value = NULL;

        if (text && strcasecmp(text, "true") == 0)
                value = "no";
        else if (text && strcasecmp(text, "false") == 0)
                value = "yes";
        else if (text)
                return wla_fail(err, WLA_E_INPUT,
                                "SKIP_FLAVOR_SIGNATURE_VERIFICATION is true or false");
        return choose(context->config, to, "WLS", "VerifyFlavors", value, err);
}

/* wlagentd is not root, who alone may read it where the firmware has it. */
static int choose_hardware(struct setup_task_context *context, struct service_options *to,
                           struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(FIRMWARE_UUID_MAX);
        char path[PATH_MAX];
        struct wla_error why = {0};
        struct uuid uuid;

        if (strcmp(context->config->wls.hardware_uuid, "auto") != 0)
                return choose(context->config, to, "WLS", "HardwareUUID", NULL, err);

        (void)snprintf(path, sizeof(path), "%s" FIRMWARE_UUID, context->root ? context->root : "");
        if (file_read(AT_FDCWD, path, &text, &why) == 0) {
                if (text.size > 0 && text.data[text.size - 1] == '\n')
                        text.size--;
                if (uuid_parse((const char *)text.data, text.size, &uuid, &why) == 0)
                        return choose(context->config, to, "WLS", "HardwareUUID", uuid.text, err);
        }
        return setup_task_note(context, err,
                               "set HardwareUUID= of section [WLS] to the UUID by which HVS knows "
                               "this host, for it cannot be read here: %s",
                               wla_error_text(&why));
}

static int note_without_counterpart(struct setup_task_context *context, struct wla_error *err) {
        static const char *const names[] = {"LOG_ENTRY_MAXLENGTH", "WLA_ENABLE_CONSOLE_LOG"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (getenv(names[i]) &&
                    setup_task_note(context, err,
                                    "%s has no counterpart: wlagentd logs to the journal, which "
                                    "has its own limits",
                                    names[i]) < 0)
                        return -1;
        return 0;
}

int service_options_choose(struct setup_task_context *context, struct service_options *ret,
                           struct wla_error *err) {
        *ret = (struct service_options){0};
        if (choose_level(context, ret, err) < 0 ||
            choose_url(context, ret, ANSWER_WLS_API_URL, "ServerURL", err) < 0 ||
            choose_url(context, ret, ANSWER_AAS_API_URL, "TokenURL", err) < 0 ||
            choose_user(context, ret, err) < 0 || choose_origin(context, ret, err) < 0 ||
            choose_hardware(context, ret, err) < 0 || choose_verification(context, ret, err) < 0)
                return -1;
        return note_without_counterpart(context, err);
}

/* A URL may be written in more than one way. */
static bool is_same(const char *in_force, const char *wanted) {
        char url[BROKER_URL_SIZE];
        struct wla_error ignored = {0};

        return strcmp(in_force, wanted) == 0 ||
               (broker_url_parse(in_force, url, &ignored) == 0 && strcmp(url, wanted) == 0);
}

int service_options_find_missing(const struct service_options *options, const struct config *config,
                                 const struct service_option **ret, struct wla_error *err) {
        char in_force[SERVICE_VALUE_SIZE];

        *ret = NULL;
        for (size_t i = 0; i < options->count && !*ret; i++) {
                const struct service_option *option = &options->options[i];

                if (value_in_force(config, option->option, in_force, err) < 0)
                        return -1;
                if (!is_same(in_force, option->value))
                        *ret = option;
        }
        return 0;
}

int service_options_format(const struct service_options *options, struct buf *text,
                           struct wla_error *err) {
        const char *section = "";

        if (buf_append_text(text,
                            "# SPDX-License-Identifier: Apache-2.0\n"
                            "# Made by 'wlagent setup update-service-config', which replaces it.\n",
                            err) < 0)
                return -1;
        for (size_t i = 0; i < options->count; i++) {
                const struct service_option *option = &options->options[i];

                if (strcmp(option->option->section, section) != 0 &&
                    buf_printf(text, err, "[%s]\n", option->option->section) < 0)
                        return -1;
                section = option->option->section;
                if (buf_printf(text, err, "%s=%s\n", option->option->key, option->value) < 0)
                        return -1;
        }
        return 0;
}
