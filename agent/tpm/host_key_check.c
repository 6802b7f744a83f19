/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/host_key.h"
#include "tpm/host_key_load.h"

static int load_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct host_key *key = arg;
        ESYS_TR loaded = ESYS_TR_NONE;

        if (host_storage_open(tpm, err) < 0 || host_key_check_parent(tpm, key, err) < 0 ||
            host_key_load(tpm, key, &loaded, err) < 0)
                return -1;
        tpm_flush(tpm, &loaded);
        return 0;
}

int tpm_host_key_check(struct tpm *tpm, struct host_key *key, struct wla_error *err) {
        return tpm_run(tpm, NULL, load_step, key, err);
}
