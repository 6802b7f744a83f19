/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/host_key_load.h"

/* A key as an argument, which a step does not change. */
struct attempt {
        const struct host_key *key;
};

static int try_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct attempt *attempt = arg;
        ESYS_TR loaded = ESYS_TR_NONE;

        if (host_storage_open(tpm, err) < 0 || host_key_check_parent(tpm, attempt->key, err) < 0)
                return -1;
        int r = host_key_load(tpm, attempt->key, &loaded, err);
        tpm_flush(tpm, &loaded);
        return r;
}

int tpm_host_key_try(struct tpm *tpm, const struct host_key *key, struct wla_error *err) {
        struct attempt attempt = {.key = key};

        /* Loading needs room, too. */
        tpm_disconnect(tpm, true);
        int r = tpm_run(tpm, NULL, try_step, &attempt, err);
        tpm_disconnect(tpm, true);
        return r;
}
