/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/host_key_load.h"

static const char hint_altered[] =
        "try again: what is between this host and its TPM may alter answers; if it stays so, the "
        "attestation in the file is wrong: put the file back from a backup, or make another key "
        "with --force";

/* A key as an argument, which a step does not change. */
struct attempt {
        const struct host_key *key;
        bool certain; /* "foreign" has to be what the TPM says itself */
};

static int fail_altered(struct tpm *tpm, const struct host_key *key, struct wla_error *err) {
        tpm->remedy = TPM_DROP;
        tpm->host_key_foreign = false;
        return wla_fail_hint(err, WLA_E_TPM, hint_altered,
                             "the TPM loads the %s, which was made under another storage key than "
                             "the one that the TPM shows",
                             host_key_usage_name(key->usage));
}

/* The name of the storage key is computed from an answer that nothing protects on its way. */
static int confirm(struct tpm *tpm, const struct host_key *key, struct wla_error *err) {
        struct wla_error load_err = {0};
        ESYS_TR loaded = ESYS_TR_NONE;

        tpm->host_key_foreign = false;
        int r = host_key_load(tpm, key, &loaded, &load_err);
        tpm_flush(tpm, &loaded);
        if (r == 0)
                return fail_altered(tpm, key, err);
        if (!tpm->host_key_foreign)
                *err = load_err;
        return -1;
}

static int try_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct attempt *attempt = arg;
        ESYS_TR loaded = ESYS_TR_NONE;

        if (host_storage_open(tpm, err) < 0)
                return -1;
        if (host_key_check_parent(tpm, attempt->key, err) < 0)
                return attempt->certain && tpm->host_key_foreign ? confirm(tpm, attempt->key, err)
                                                                 : -1;
        int r = host_key_load(tpm, attempt->key, &loaded, err);
        tpm_flush(tpm, &loaded);
        return r;
}

int tpm_host_key_try(struct tpm *tpm, const struct host_key *key, bool *ret_foreign,
                     struct wla_error *err) {
        struct attempt attempt = {.key = key, .certain = ret_foreign != NULL};

        /* Loading needs room, too. */
        tpm_disconnect(tpm, true);
        tpm->host_key_foreign = false;
        int r = tpm_run(tpm, NULL, try_step, &attempt, err);
        tpm_disconnect(tpm, true);
        if (ret_foreign)
                *ret_foreign = tpm->host_key_foreign;
        return r;
}
