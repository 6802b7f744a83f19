/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/host_key_files.h"
#include "cli/migrate.h"
#include "cli/setup_task.h"
#include "cli/trust_agent.h"
#include "tpm/tpm.h"

static const char *const register_tasks[] = {
        [HOST_KEY_BINDING] = "wlagent setup register-binding-key",
        [HOST_KEY_SIGNING] = "wlagent setup register-signing-key",
};

static void close_tpm(struct tpm **tpm) {
        *tpm = tpm_free(*tpm);
}

#define _cleanup_tpm_ __attribute__((cleanup(close_tpm)))

/* Where Intel's agent has its configuration, and its programs. */
static const char *const intel_places[] = {INTEL_CONFIG, INTEL_PROGRAMS};

static const char hint_migrate[] =
        "its secret is in config.yml of Intel's agent: 'wlagent migrate --apply' takes both over, "
        "and this host stays registered; --force makes another key, and keeps this one as *.old";
static const char hint_force[] =
        "bring its secret back; --force makes another key, which has to be registered, and keeps "
        "this one as *.old";
static const char hint_usage[] = "BindingKey= and SigningKey= have to name a file each";

static bool is_host_of_intel(const char *root) {
        char path[PATH_MAX];

        for (size_t i = 0; i < sizeof(intel_places) / sizeof(intel_places[0]); i++) {
                int size = snprintf(path, sizeof(path), "%s%s", root ? root : "", intel_places[i]);

                if (size > 0 && (size_t)size < sizeof(path) && access(path, F_OK) == 0)
                        return true;
        }
        return false;
}

/* Whoever has its secret can use it, and may be doing so. */
static int refuse_without_secret(const struct setup_task_context *context,
                                 const struct host_key_files *files, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_INPUT,
                             is_host_of_intel(context->root) ? hint_migrate : hint_force,
                             "there is a %s, %s, and no credential %s with its secret",
                             host_key_usage_name(files->usage), files->key_path, files->credential);
}

/* A link, a file of others, or one that cannot be read now, is for the operator to look at. */
static int read_key(struct host_key_files *files, struct host_key *ret, bool *ret_useless,
                    struct wla_error *err) {
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(HOST_KEY_FILE_MAX);

        files->is_no_key = true;
        if (file_read_trusted(files->key_path, &json, err) < 0)
                return -1;
        /* Of an empty one there is nothing to keep. */
        files->is_no_key = json.size > 0;
        if (host_key_parse((const char *)json.data, json.size, ret, err) < 0) {
                *ret_useless = err->code == WLA_E_INPUT;
                return wla_wrap(err, "%s", files->key_path);
        }
        files->is_no_key = false;
        return 0;
}

static int check_usage(const struct host_key_files *files, const struct host_key *key,
                       struct wla_error *err) {
        if (key->usage == files->usage)
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, hint_usage, "%s holds a %s, and a %s is needed",
                             files->key_path, host_key_usage_name(key->usage),
                             host_key_usage_name(files->usage));
}

/* A key of the other kind is somebody's, and not what --force is for. */
static int check_not_other_kind(struct host_key_files *files, struct wla_error *err) {
        struct wla_error ignored;
        struct host_key key;
        bool useless;

        return read_key(files, &key, &useless, &ignored) == 0 ? check_usage(files, &key, err) : 0;
}

/* A key is thrown away for this answer, so it has to be the same on another connection. */
static int try_key(struct tpm *tpm, const struct host_key_files *files, const struct host_key *key,
                   bool *ret_useless, struct wla_error *err) {
        if (tpm_host_key_try(tpm, key, ret_useless, err) == 0 ||
            (*ret_useless && tpm_host_key_try(tpm, key, ret_useless, err) == 0))
                return 0;
        return wla_wrap(err, "trying %s", files->key_path);
}

/* A key of another TPM, or of before this one was cleared, or a damaged one, is replaced.  What else goes wrong may
 * pass, and the key be in use. */
static int judge_key(struct setup_task_context *context, struct tpm *tpm,
                     struct host_key_files *files, bool *ret_valid, struct wla_error *err) {
        bool useless = false;
        struct host_key key;

        *ret_valid = read_key(files, &key, &useless, err) == 0 &&
                     check_usage(files, &key, err) == 0 &&
                     try_key(tpm, files, &key, &useless, err) == 0;
        if (*ret_valid)
                return 0;
        if (!useless)
                return -1;
        return setup_task_note(context, err, "the former %s is of no use: %s",
                               host_key_usage_name(files->usage), wla_error_text(err));
}

static int make_key(struct setup_task_context *context, struct tpm *tpm,
                    const struct host_key_files *files, enum host_key_presence presence,
                    struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *secret = NULL;
        _cleanup_secret_ struct wla_secret *aik_secret = NULL;
        struct credential_place place = {0};
        struct host_key key;

        if (trust_agent_read_aik_secret(context->answers, &aik_secret, err) < 0 ||
            host_key_secret_new(&secret, err) < 0)
                return -1;

        const struct host_key_options options = {
                .usage = files->usage,
                .secret = secret,
                .aik_secret = aik_secret,
        };
        if (tpm_host_key_create(tpm, &options, &key, err) < 0 ||
            host_key_files_publish(files, &key, secret, &place, err) < 0)
                return -1;

        setup_task_tell(context, true, "%s has a new %s; register it with '%s'", files->key_path,
                        host_key_usage_name(files->usage), register_tasks[files->usage]);
        if ((presence == HOST_KEY_WITHOUT_SECRET || files->is_no_key) &&
            setup_task_note(context, err, "the former %s is kept: %s.old",
                            host_key_usage_name(files->usage), files->key_path) < 0)
                return -1;
        return setup_task_note_credential(context, files->credential, &place, err);
}

static int set_up_key(struct setup_task_context *context, enum host_key_usage usage,
                      struct wla_error *err) {
        const struct config *config = context->config;
        _cleanup_tpm_ struct tpm *tpm = NULL;
        struct host_key_files files;
        enum host_key_presence presence;
        bool valid = false;

        if (host_key_files_place(config, context->root, usage, &files, err) < 0 ||
            host_key_files_find(&files, &presence, err) < 0)
                return -1;
        if (presence == HOST_KEY_WITHOUT_SECRET && !context->force)
                return refuse_without_secret(context, &files, err);
        if (presence != HOST_KEY_ABSENT && context->force && check_not_other_kind(&files, err) < 0)
                return -1;
        if (tpm_new(config->tpm.device, config->agent.state_directory, &tpm, err) < 0 ||
            (presence == HOST_KEY_PAIR && !context->force &&
             judge_key(context, tpm, &files, &valid, err) < 0))
                return -1;
        if (!valid)
                return make_key(context, tpm, &files, presence, err);

        setup_task_tell(context, false, "%s has a %s of this TPM already", files.key_path,
                        host_key_usage_name(usage));
        return 0;
}

int setup_binding_key(struct setup_task_context *context, struct wla_error *err) {
        return set_up_key(context, HOST_KEY_BINDING, err);
}

int setup_signing_key(struct setup_task_context *context, struct wla_error *err) {
        return set_up_key(context, HOST_KEY_SIGNING, err);
}
