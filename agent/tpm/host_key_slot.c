/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/host_key_slot.h"

#include <stdlib.h>
#include <string.h>

#include "base/credential.h"
#include "base/file.h"
#include "tpm/auth_value.h"
#include "tpm/properties.h"

static const char hint_refused[] = "it is not asked again until one of the two has changed, "
                                   "because wrong attempts lock a TPM; "
                                   "take both from the same setup, and start the agent again";
static const char hint_lockout[] =
        "it is asked again when the lockout has passed; 'tpm2_dictionarylockout -c' ends it";

/* What was refused stays known: file and secret may come back as they were. */
static void forget(struct tpm *tpm, enum host_key_usage usage) {
        struct host_key_slot *slot = &tpm->host_keys[usage];

        if (tpm->host_key_usage == usage)
                tpm_flush(tpm, &tpm->host_key);
        slot->have = false;
        slot->secret = wla_secret_free(slot->secret);
}

void host_key_slots_clear(struct tpm *tpm) {
        for (size_t i = 0; i < _HOST_KEY_USAGE_MAX; i++) {
                struct host_key_slot *slot = &tpm->host_keys[i];

                slot->secret = wla_secret_free(slot->secret);
                free(slot->path);
                free(slot->credential);
                *slot = (struct host_key_slot){0};
        }
}

int tpm_host_key_place(struct tpm *tpm, enum host_key_usage usage,
                       const struct host_key_place *place, struct wla_error *err) {
        struct host_key_slot *slot = &tpm->host_keys[usage];
        _cleanup_free_ char *path = place->path ? strdup(place->path) : NULL;
        _cleanup_free_ char *credential = place->path ? strdup(place->credential) : NULL;

        if (place->path && (!path || !credential))
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        forget(tpm, usage);
        free(slot->path);
        free(slot->credential);
        *slot = (struct host_key_slot){.path = TAKE_PTR(path), .credential = TAKE_PTR(credential)};
        return 0;
}

bool tpm_host_key_is_used(const struct tpm *tpm, enum host_key_usage usage) {
        return tpm->host_keys[usage].path != NULL;
}

static int read_secret(const char *credential, struct wla_secret **ret, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *text = NULL;

        if (credential_read(credential, &text, err) < 0)
                return -1;
        if (auth_value_decode(text, ret, err) < 0)
                return wla_wrap(err, "the credential %s", credential);
        if (!*ret)
                return wla_fail(err, WLA_E_INPUT, "the credential %s holds no secret", credential);
        return 0;
}

static bool is_as_it_was(const struct host_key_slot *slot, const struct stat *secret) {
        struct stat file;

        return slot->have && lstat(slot->path, &file) == 0 &&
               file_is_same(&file, &slot->key_stat) && file_is_same(secret, &slot->secret_stat);
}

bool host_key_slot_is_fresh(const struct tpm *tpm, enum host_key_usage usage) {
        const struct host_key_slot *slot = &tpm->host_keys[usage];
        struct wla_error err = {0};
        struct stat secret;

        return slot->path && credential_examine(slot->credential, &secret, &err) == 0 &&
               is_as_it_was(slot, &secret);
}

int host_key_slot_refresh(struct tpm *tpm, enum host_key_usage usage, struct wla_error *err) {
        struct host_key_slot *slot = &tpm->host_keys[usage];
        struct stat file;
        struct stat secret;

        if (!slot->path)
                return wla_fail(err, WLA_E_NOT_FOUND, "this agent uses no %s of Intel SecL",
                                host_key_usage_name(usage));
        if (credential_examine(slot->credential, &secret, err) < 0) {
                forget(tpm, usage);
                return wla_wrap(err, "the secret of the %s", host_key_usage_name(usage));
        }
        if (is_as_it_was(slot, &secret))
                return 0;

        forget(tpm, usage);
        if (host_key_read(slot->path, usage, &slot->key, &file, err) < 0)
                return -1;
        if (read_secret(slot->credential, &slot->secret, err) < 0)
                return wla_wrap(err, "the secret of the %s", host_key_usage_name(usage));

        slot->refused = slot->refused && file_is_same(&file, &slot->key_stat) &&
                        file_is_same(&secret, &slot->secret_stat);
        slot->key_stat = file;
        slot->secret_stat = secret;
        slot->have = true;
        return 0;
}

static int fail_refused(const struct host_key_slot *slot, enum host_key_usage usage, TSS2_RC rc,
                        struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_TPM, hint_refused,
                             "the TPM refuses the secret in the credential %s for the %s in %s "
                             "(0x%x)",
                             slot->credential, host_key_usage_name(usage), slot->path, rc);
}

int host_key_slot_may_ask(struct tpm *tpm, enum host_key_usage usage, struct wla_error *err) {
        struct host_key_slot *slot = &tpm->host_keys[usage];
        struct tpm_lockout lockout;

        if (slot->refused)
                return fail_refused(slot, usage, TPM2_RC_AUTH_FAIL, err);
        if (!tpm->locked_out)
                return 0;

        if (tpm_check(tpm, tpm_lockout_read(tpm, &lockout), "asking the TPM for its lockout", err) <
            0)
                return -1;
        if (lockout.now)
                return wla_fail_hint(err, WLA_E_TPM, hint_lockout,
                                     "the TPM is locked out after %u wrong authorisations and "
                                     "allows another one every %u s",
                                     lockout.counter, lockout.interval_sec);
        tpm->locked_out = false;
        return 0;
}

static void note(struct tpm *tpm, struct host_key_slot *slot, TSS2_RC rc) {
        TPM2_RC base = tpm_rc_base(rc);

        slot->refused |= base == TPM2_RC_AUTH_FAIL || base == TPM2_RC_BAD_AUTH;
        tpm->locked_out |= base == TPM2_RC_LOCKOUT;
}

void host_key_slots_note(struct tpm *tpm, const struct wla_secret *secret, TSS2_RC rc) {
        for (size_t i = 0; i < _HOST_KEY_USAGE_MAX; i++)
                if (secret && tpm->host_keys[i].secret == secret)
                        note(tpm, &tpm->host_keys[i], rc);
}

int host_key_slot_failed(struct tpm *tpm, enum host_key_usage usage, struct wla_error *err) {
        struct host_key_slot *slot = &tpm->host_keys[usage];

        note(tpm, slot, tpm->rc);
        switch (tpm_rc_base(tpm->rc)) {
        case TPM2_RC_AUTH_FAIL:
        case TPM2_RC_BAD_AUTH:
                return fail_refused(slot, usage, tpm->rc, err);
        case TPM2_RC_LOCKOUT:
                err->hint = hint_lockout;
                return -1;
        default:
                return -1;
        }
}
