/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/persist.h"

#include "tpm/load.h"

static const char hint_handle[] = "choose another with BindingKeyHandle=; 'tpm2_getcap "
                                  "handles-persistent' lists those in use";

static int evict(struct tpm *tpm, ESYS_TR object, uint32_t handle, ESYS_TR *ret,
                 struct wla_error *err) {
        TSS2_RC rc = Esys_EvictControl(tpm->esys, ESYS_TR_RH_OWNER, object, ESYS_TR_PASSWORD,
                                       ESYS_TR_NONE, ESYS_TR_NONE, handle, ret);
        if (tpm_check(tpm, rc, "writing a persistent handle", err) == 0)
                return 0;
        if (tpm_rc_base(rc) == TPM2_RC_BAD_AUTH || tpm_rc_base(rc) == TPM2_RC_AUTH_FAIL)
                err->hint = "the owner hierarchy has a password; keep the key as blobs (no "
                            "BindingKeyHandle=)";
        return -1;
}

/* Evicts the old binding key, and nothing else. */
static int free_handle(struct tpm *tpm, uint32_t handle, const TPM2B_NAME *old_name,
                       struct wla_error *err) {
        ESYS_TR found = ESYS_TR_NONE;
        ESYS_TR gone = ESYS_TR_NONE;
        bool is_there = false;
        TPM2B_NAME name;

        if (persistent_find(tpm, handle, &is_there, &found, &name, err) < 0)
                return -1;
        if (!is_there)
                return 0;
        if (!old_name || !tpm_name_equal(&name, old_name))
                return wla_fail_hint(err, WLA_E_TPM, hint_handle,
                                     "the persistent handle 0x%08x holds another key", handle);
        return evict(tpm, found, handle, &gone, err);
}

int persist_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct persist *persist = arg;
        ESYS_TR found = ESYS_TR_NONE;
        bool is_there = false;
        TPM2B_NAME name;

        if (storage_key_open(tpm, err) < 0 || binding_key_open(tpm, err) < 0 ||
            persistent_find(tpm, persist->handle, &is_there, &found, &name, err) < 0)
                return -1;

        /* Unless an attempt whose answer was lost has done it. */
        if (!is_there || !tpm_name_equal(&name, &tpm->key.name)) {
                if (free_handle(tpm, persist->handle, persist->old_name, err) < 0 ||
                    evict(tpm, tpm->binding, persist->handle, &found, err) < 0)
                        return -1;
        }

        tpm_flush(tpm, &tpm->binding);
        tpm->key.handle = persist->handle;
        tpm->key.private.size = 0;
        return 0;
}

int persist_free_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        const struct persist *persist = arg;

        return free_handle(tpm, persist->handle, persist->old_name, err);
}
