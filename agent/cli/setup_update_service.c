/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli/credential_store.h"
#include "cli/directory_path.h"
#include "cli/service_options.h"

#define DROP_IN_NAME   "50-intel-secl.conf"
#define DROP_IN_MAX    16384u
#define FILE_MODE      0644
#define DIRECTORY_MODE 0755

/* The network that wlagentd.service does not have unless a broker needs it. */
#define UNIT_DIRECTORY "/etc/systemd/system/wlagentd.service.d"
#define UNIT_DROP_IN   "intel-secl.conf" /* that of wlagent migrate, too */

static const char unit_drop_in[] =
        "# SPDX-License-Identifier: Apache-2.0\n"
        "# Made by 'wlagent setup update-service-config', which leaves it as it is from then on.\n"
        "# IPAddressAllow= may be narrowed to the networks of WLS, AAS and the resolver.\n"
        "[Service]\n"
        "PrivateNetwork=no\n"
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
        "IPAddressAllow=any\n";

static const char hint_later[] =
        "another file of that directory, which is read later, sets it: remove "
        "the line there";

/* Read back, because other files of the configuration count too. */
static int check_in_force(const char *path, const char *directory,
                          const struct service_options *options, struct wla_error *err) {
        _cleanup_buf_ struct buf faults = BUF_WITH_LIMIT(65536);
        _cleanup_config_ struct config *config = NULL;
        const struct service_option *missing = NULL;

        if (config_read(path, &config, &faults, err) < 0) {
                const char *end = memchr(faults.data ? faults.data : (const uint8_t *)"", '\n',
                                         faults.size);

                return end ? wla_wrap(err, "%.*s", (int)(end - (char *)faults.data),
                                      (char *)faults.data)
                           : -1;
        }
        if (service_options_find_missing(options, config, &missing, err) < 0)
                return -1;
        if (missing)
                return wla_fail_hint(err, WLA_E_INPUT, hint_later,
                                     "%s= is written to %s/" DROP_IN_NAME ", and not in force",
                                     missing->option->key, directory);
        return 0;
}

/* Whoever could change it would choose whom wlagentd tells its password. */
static int find_config_directory(const struct setup_task_context *context, char to[static PATH_MAX],
                                 struct wla_error *err) {
        int size = snprintf(to, PATH_MAX, "%s.d", context->config->path);

        if (size < 0 || size >= PATH_MAX)
                return wla_fail(err, WLA_E_INPUT, "the path of the configuration is too long");
        return directory_path_check(to, err);
}

static int write_config(struct setup_task_context *context, const struct service_options *options,
                        const char *directory, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(DROP_IN_MAX);
        _cleanup_close_ int fd = -1;

        if (service_options_format(options, &text, err) < 0)
                return -1;
        const struct wla_bytes bytes = {.data = text.data, .size = text.size};
        if (directory_path_make(directory, DIRECTORY_MODE, &fd, err) < 0 ||
            file_write_for(fd, DROP_IN_NAME, bytes, FILE_MODE, (uid_t)-1, (gid_t)-1, err) < 0)
                return wla_wrap(err, "%s/" DROP_IN_NAME, directory);
        if (check_in_force(context->config->path, directory, options, err) < 0)
                return -1;
        setup_task_tell(context, true, "wlagentd knows the services by %s/" DROP_IN_NAME,
                        directory);
        return 0;
}

static int write_password(struct setup_task_context *context, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *password = NULL;
        struct credential_place place = {0};

        if (answers_require_secret(context->answers, ANSWER_WLA_SERVICE_PASSWORD, &password, err) <
                    0 ||
            credential_write(context->root, CREDENTIAL_AAS_PASSWORD, password, &place, err) < 0)
                return -1;
        setup_task_tell(context, true, "the password of WLA_SERVICE_USERNAME is stored");
        return setup_task_note_credential(context, CREDENTIAL_AAS_PASSWORD, &place, err);
}

/* Once: the operator may narrow it. */
static int open_network(struct setup_task_context *context, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        char directory[PATH_MAX];
        struct stat facts;

        int size = snprintf(directory, sizeof(directory), "%s" UNIT_DIRECTORY,
                            context->root ? context->root : "");
        if (size < 0 || (size_t)size >= sizeof(directory))
                return wla_fail(err, WLA_E_INPUT, "the path of --root is too long");
        if (directory_path_make(directory, DIRECTORY_MODE, &fd, err) < 0)
                return -1;
        if (fstatat(fd, UNIT_DROP_IN, &facts, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        const struct wla_bytes text = {.data = (const uint8_t *)unit_drop_in,
                                       .size = sizeof(unit_drop_in) - 1};
        if (file_write_for(fd, UNIT_DROP_IN, text, FILE_MODE, (uid_t)-1, (gid_t)-1, err) < 0)
                return wla_wrap(err, "%s/" UNIT_DROP_IN, directory);
        context->changed = true;
        context->reload_units = true;
        context->restart_agent = true;
        return setup_task_note(context, err,
                               "%s/" UNIT_DROP_IN " gives wlagentd.service a network, which may be "
                               "narrowed there",
                               directory);
}

static int note_origins(struct setup_task_context *context, const struct service_options *options,
                        struct wla_error *err) {
        for (size_t i = 0; i < options->count; i++)
                if (strcmp(options->options[i].option->key, "AllowedKeyOrigins") == 0)
                        return 0;
        return setup_task_note(context, err,
                               "no key can be used until AllowedKeyOrigins= of section [WLS] names "
                               "the key broker; this command sets it when KBS_BASE_URL is set");
}

static int update(struct setup_task_context *context, const struct service_options *options,
                  bool write_options, bool write_secret, struct wla_error *err) {
        char directory[PATH_MAX];

        /* What may be missing is found before anything has changed; so the password is first. */
        if ((write_options && find_config_directory(context, directory, err) < 0) ||
            (write_secret && write_password(context, err) < 0) ||
            (write_options && write_config(context, options, directory, err) < 0))
                return -1;
        context->restart_agent = true;
        return 0;
}

int setup_update_service(struct setup_task_context *context, struct wla_error *err) {
        const struct service_option *missing = NULL;
        struct service_options options;
        struct credential_place place;

        if (service_options_choose(context, &options, err) < 0 ||
            service_options_find_missing(&options, context->config, &missing, err) < 0 ||
            credential_find(context->root, CREDENTIAL_AAS_PASSWORD, &place, err) < 0)
                return -1;

        bool told = answers_text(context->answers, ANSWER_WLA_SERVICE_PASSWORD) != NULL;
        bool write_secret = place.kind == CREDENTIAL_NONE || (context->force && told);
        bool write_options = missing || context->force;
        if (!write_secret && !write_options)
                setup_task_tell(context, false, "wlagentd knows the services already%s",
                                told ? "; the password is stored again with --force" : "");
        else if (update(context, &options, write_options, write_secret, err) < 0)
                return -1;
        if (open_network(context, err) < 0)
                return -1;
        return note_origins(context, &options, err);
}
