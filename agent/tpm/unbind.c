/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/unbind.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/metrics.h"
#include "tpm/load.h"
#include "tpm/pcr.h"
#include "tpm/rsa_decrypt.h"

static const char hint_wrap_again[] =
        "have the owner wrap the key with this host's binding-key.pem; 'wlagent status' shows its "
        "fingerprint";

struct opening {
        struct wla_bytes wrapped;
        struct wla_secret *secret;
};

static int load(struct tpm *tpm, struct wla_error *err) {
        TPM2_SE type = tpm->key.pcrs != 0 ? TPM2_SE_POLICY : TPM2_SE_HMAC;

        if (storage_key_open(tpm, err) < 0 || binding_session_open(tpm, type, err) < 0)
                return -1;
        return binding_key_open(tpm, err);
}

static int ready(struct tpm *tpm, struct wla_error *err) {
        if (load(tpm, err) < 0)
                return -1;
        return tpm->key.pcrs != 0 ? pcr_policy_satisfy(tpm, err) : 0;
}

static int ready_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        (void)arg;
        return ready(tpm, err);
}

static int open_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct session_use use = {.session = &tpm->session, .key_name = &tpm->key.name};
        struct opening *opening = arg;

        if (!rsa_decrypt_under_way(tpm, opening->wrapped) && ready(tpm, err) < 0)
                return -1;
        return rsa_decrypt(tpm, tpm->binding, &use, opening->wrapped, &opening->secret, err);
}

int unbind_key(struct tpm *tpm, struct wla_bytes wrapped, const struct deadline *deadline,
               struct wla_secret **ret, struct wla_error *err) {
        struct opening opening = {.wrapped = wrapped};

        int r = tpm_run(tpm, deadline, open_step, &opening, err);
        (void)rsa_decrypt_end(tpm, wrapped);
        if (r < 0)
                return -1;

        *ret = opening.secret;
        return 0;
}

static bool key_is_as_it_was(const struct tpm *tpm, struct wla_error *err) {
        _cleanup_close_ int dir_fd = -1;
        struct stat status;

        return tpm->have_key &&
               file_open_directory(tpm->state_directory, false, 0, &dir_fd, err) == 0 &&
               fstatat(dir_fd, BINDING_KEY_FILE, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
               file_is_same(&status, &tpm->key_stat);
}

/* Reads the state file again when setup has replaced it, so that no restart is needed. */
static int refresh_key(struct tpm *tpm, struct wla_error *err) {
        if (key_is_as_it_was(tpm, err))
                return 0;

        tpm->have_key = false;
        tpm_disconnect(tpm, true);
        if (binding_key_read(tpm->state_directory, &tpm->key, &tpm->key_stat, err) < 0)
                return -1;

        tpm->have_key = true;
        return 0;
}

int tpm_prepare(struct tpm *tpm, struct wla_error *err) {
        if (refresh_key(tpm, err) < 0)
                return -1;

        int r = tpm_run(tpm, NULL, ready_step, NULL, err);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_PREPARE, r < 0 ? err->code : WLA_OK);
        return r;
}

static bool is_for_another(const struct tpm *tpm, const char *fingerprint) {
        return fingerprint && fingerprint[0] != '\0' &&
               strcmp(fingerprint, tpm->key.fingerprint) != 0;
}

void tpm_unbind_prepare(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint) {
        const struct session_use use = {.session = &tpm->session, .key_name = &tpm->key.name};
        struct wla_error err = {0};

        if (wrapped.size == RSA_WRAPPED_SIZE && key_is_as_it_was(tpm, &err) && tpm->key.pcrs == 0 &&
            !is_for_another(tpm, fingerprint) && tpm->binding != ESYS_TR_NONE &&
            tpm->session.handle != 0 && tpm->session.type == TPM2_SE_HMAC)
                rsa_decrypt_prepare(tpm, tpm->binding, &use, wrapped);
}

int tpm_unbind(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint,
               const struct deadline *deadline, struct wla_secret **ret, struct wla_error *err) {
        if (wrapped.size != RSA_WRAPPED_SIZE)
                return wla_fail_hint(err, WLA_E_INPUT, hint_wrap_again,
                                     "a wrapped key has %u bytes, and this one %zu",
                                     RSA_WRAPPED_SIZE, wrapped.size);
        if (rsa_decrypt_under_way(tpm, wrapped))
                return unbind_key(tpm, wrapped, deadline, ret, err);
        if (refresh_key(tpm, err) < 0)
                return -1;
        if (is_for_another(tpm, fingerprint))
                return wla_fail_hint(
                        err, WLA_E_INPUT, hint_wrap_again,
                        "it is wrapped for the binding key %.16s..., and this host has "
                        "%.16s...",
                        fingerprint, tpm->key.fingerprint);

        return unbind_key(tpm, wrapped, deadline, ret, err);
}

uint64_t tpm_unbind_count(const struct tpm *tpm) {
        return atomic_load(&tpm->unbinds);
}
