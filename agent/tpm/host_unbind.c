/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"
#include "tpm/host_key_load.h"
#include "tpm/host_key_slot.h"
#include "tpm/rsa_decrypt.h"

static const char hint_register[] =
        "it has to be wrapped to the binding key that HVS has certified for this host: run "
        "'wlagent "
        "setup register-binding-key --force', and see the hardware UUID";

struct opening {
        struct wla_bytes wrapped;
        struct wla_secret *secret;
};

static int open_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct host_key_slot *slot = &tpm->host_keys[HOST_KEY_BINDING];
        struct opening *opening = arg;

        if (!rsa_decrypt_under_way(tpm, opening->wrapped) &&
            (host_key_slot_may_ask(tpm, HOST_KEY_BINDING, err) < 0 ||
             host_key_open(tpm, HOST_KEY_BINDING, err) < 0))
                return -1;

        const TPM2B_NAME name = host_key_name(&slot->key);
        const struct session_use use = {
                .session = &tpm->host_session,
                .key_name = &name,
                .auth = slot->secret,
        };
        tpm->rc = TSS2_RC_SUCCESS;
        int r = rsa_decrypt(tpm, tpm->host_key, &use, opening->wrapped, &opening->secret, err);
        return r < 0 ? host_key_slot_failed(tpm, HOST_KEY_BINDING, err) : 0;
}

void tpm_host_unbind_prepare(struct tpm *tpm, struct wla_bytes wrapped) {
        const struct host_key_slot *slot = &tpm->host_keys[HOST_KEY_BINDING];

        if (wrapped.size != RSA_WRAPPED_SIZE || !host_key_slot_is_fresh(tpm, HOST_KEY_BINDING) ||
            slot->refused || tpm->locked_out || tpm->host_key == ESYS_TR_NONE ||
            tpm->host_key_usage != HOST_KEY_BINDING || tpm->host_session.handle == 0)
                return;

        const TPM2B_NAME name = host_key_name(&slot->key);
        const struct session_use use = {
                .session = &tpm->host_session,
                .key_name = &name,
                .auth = slot->secret,
        };
        rsa_decrypt_prepare(tpm, tpm->host_key, &use, wrapped);
}

int tpm_host_unbind(struct tpm *tpm, struct wla_bytes wrapped, const struct deadline *deadline,
                    struct wla_secret **ret, struct wla_error *err) {
        struct opening opening = {.wrapped = wrapped};

        if (wrapped.size != RSA_WRAPPED_SIZE)
                return wla_fail(err, WLA_E_INPUT, "a wrapped key has %u bytes, and this one %zu",
                                RSA_WRAPPED_SIZE, wrapped.size);
        if (!rsa_decrypt_under_way(tpm, wrapped) &&
            host_key_slot_refresh(tpm, HOST_KEY_BINDING, err) < 0)
                return -1;

        int r = tpm_run(tpm, deadline, open_step, &opening, err);
        (void)rsa_decrypt_end(tpm, wrapped);
        if (r < 0) {
                if (err->code == WLA_E_INPUT)
                        err->hint = hint_register;
                return -1;
        }

        *ret = opening.secret;
        return 0;
}

static int prepare_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        return host_key_open(tpm, *(const enum host_key_usage *)arg, err);
}

int tpm_host_key_prepare(struct tpm *tpm, enum host_key_usage usage, struct wla_error *err) {
        if (host_key_slot_refresh(tpm, usage, err) < 0)
                return -1;

        int r = tpm_run(tpm, NULL, prepare_step, &usage, err);
        metrics_count(METRIC_TPM_OPERATIONS, METRIC_TPM_PREPARE, r < 0 ? err->code : WLA_OK);
        return r;
}
