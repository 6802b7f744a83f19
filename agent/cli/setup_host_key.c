/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/host_key_files.h"
#include "cli/setup_task.h"
#include "cli/trust_agent.h"
#include "tpm/tpm.h"

static const char *const register_tasks[] = {
        [HOST_KEY_BINDING] = "register-binding-key",
        [HOST_KEY_SIGNING] = "register-signing-key",
};

static void close_tpm(struct tpm **tpm) {
        *tpm = tpm_free(*tpm);
}

#define _cleanup_tpm_ __attribute__((cleanup(close_tpm)))

/* A key of another TPM, or of before this one was cleared, is none. */
static int is_valid(struct tpm *tpm, const struct host_key_files *files, bool *ret,
                    struct wla_error *err) {
        struct host_key key;

        *ret = false;
        if (host_key_files_find(files, &key, ret, err) == 0 &&
            (!*ret || tpm_host_key_try(tpm, &key, err) == 0))
                return 0;
        *ret = false;
        return err->code == WLA_E_TPM ? 0 : -1;
}

static int make_key(struct setup_task_context *context, struct tpm *tpm,
                    const struct host_key_files *files, struct wla_error *err) {
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
        return setup_task_note_credential(context, files->credential, &place, err);
}

static int set_up_key(struct setup_task_context *context, enum host_key_usage usage,
                      struct wla_error *err) {
        const struct config *config = context->config;
        _cleanup_tpm_ struct tpm *tpm = NULL;
        struct host_key_files files;
        bool valid = false;

        if (host_key_files_place(config, context->root, usage, &files, err) < 0 ||
            tpm_new(config->tpm.device, config->agent.state_directory, &tpm, err) < 0 ||
            (!context->force && is_valid(tpm, &files, &valid, err) < 0))
                return -1;
        if (!valid)
                return make_key(context, tpm, &files, err);

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
