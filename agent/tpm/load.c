/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/load.h"

#include "tpm/templates.h"

static const char hint_other_tpm[] =
        "another TPM or a cleared one; run 'wlagent setup --replace' and have owners wrap their "
        "keys again";
static const char hint_owner_password[] =
        "make the storage key at 0x81000001 with 'tpm2_createprimary -C o -P ...' and "
        "'tpm2_evictcontrol', then run setup again";
static const char hint_foreign_parent[] =
        "it needs an SHA-256 storage key with an empty password at 0x81000001; see wlagent(1)";

/* Not to be kept: tpm2-tss remembers what it has once read at a handle. */
static int fail_foreign(struct tpm *tpm, struct wla_error *err, const char *what, uint32_t handle,
                        const char *made) {
        tpm->remedy = TPM_DROP;
        return wla_fail_hint(err, WLA_E_TPM, hint_other_tpm,
                             "the %s at 0x%08x of this TPM is not the one %s at setup", what,
                             handle, made);
}

static int fail_gone(struct wla_error *err, const char *what, uint32_t handle) {
        return wla_fail_hint(err, WLA_E_TPM, hint_other_tpm,
                             "this TPM has no %s at 0x%08x any more", what, handle);
}

int persistent_find(struct tpm *tpm, uint32_t handle, bool *ret_found, ESYS_TR *ret,
                    TPM2B_NAME *ret_name, struct wla_error *err) {
        ESYS_TR found = ESYS_TR_NONE;
        _cleanup_esys_ TPM2B_NAME *name = NULL;

        TSS2_RC rc = Esys_TR_FromTPMPublic(tpm->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, &found);
        if (tpm_rc_base(rc) == TPM2_RC_HANDLE) {
                *ret_found = false;
                return 0;
        }
        if (tpm_check(tpm, rc, "reading a persistent key", err) < 0 ||
            tpm_check(tpm, Esys_TR_GetName(tpm->esys, found, &name), "reading a key's name", err) <
                    0)
                return -1;

        *ret_found = true;
        *ret = found;
        *ret_name = *name;
        return 0;
}

int storage_key_find(struct tpm *tpm, bool *ret_found, struct wla_error *err) {
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        ESYS_TR found = ESYS_TR_NONE;
        TPM2B_NAME name;

        if (persistent_find(tpm, STORAGE_KEY_HANDLE, ret_found, &found, &name, err) < 0)
                return -1;
        if (!*ret_found)
                return 0;

        TSS2_RC rc = Esys_ReadPublic(tpm->esys, found, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                     &public, NULL, NULL);
        if (tpm_check(tpm, rc, "reading the storage key", err) < 0)
                return -1;
        if (!is_storage_key(public))
                return wla_fail_hint(err, WLA_E_TPM, hint_foreign_parent,
                                     "the key at 0x%08x of this TPM is no storage key",
                                     STORAGE_KEY_HANDLE);

        tpm->storage = found;
        return 0;
}

int storage_key_open(struct tpm *tpm, struct wla_error *err) {
        ESYS_TR found = ESYS_TR_NONE;
        TPM2B_NAME name;
        bool is_there = false;

        if (tpm->storage != ESYS_TR_NONE)
                return 0;

        if (persistent_find(tpm, tpm->key.storage_handle, &is_there, &found, &name, err) < 0)
                return -1;
        if (!is_there)
                return fail_gone(err, "storage key", tpm->key.storage_handle);
        if (!tpm_name_equal(&name, &tpm->key.storage_name))
                return fail_foreign(tpm, err, "storage key", tpm->key.storage_handle, "pinned");

        tpm->storage = found;
        return 0;
}

static bool is_refused(TSS2_RC rc) {
        TPM2_RC base = tpm_rc_base(rc);

        return base == TPM2_RC_BAD_AUTH || base == TPM2_RC_AUTH_FAIL;
}

int storage_key_check(struct tpm *tpm, TSS2_RC rc, const char *doing, struct wla_error *err) {
        int r = tpm_check(tpm, rc, doing, err);

        if (!is_refused(rc))
                return r;
        (void)wla_fail_hint(err, WLA_E_TPM, hint_foreign_parent,
                            "the storage key at 0x%08x of this TPM has a password (0x%x)",
                            STORAGE_KEY_HANDLE, rc);
        return wla_wrap(err, "%s", doing);
}

static int check_owner(struct tpm *tpm, TSS2_RC rc, const char *doing, struct wla_error *err) {
        int r = tpm_check(tpm, rc, doing, err);

        if (!is_refused(rc))
                return r;
        (void)wla_fail_hint(err, WLA_E_TPM, hint_owner_password,
                            "the owner hierarchy of this TPM has a password (0x%x)", rc);
        return wla_wrap(err, "%s", doing);
}

int storage_key_make(struct tpm *tpm, struct wla_error *err) {
        static const TPM2B_SENSITIVE_CREATE no_password;
        static const TPM2B_DATA no_data;
        static const TPML_PCR_SELECTION no_pcrs;
        static const char doing[] = "making the storage key";
        ESYS_TR made = ESYS_TR_NONE;

        TSS2_RC rc = Esys_CreatePrimary(tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                        ESYS_TR_NONE, &no_password, &storage_key_template, &no_data,
                                        &no_pcrs, &made, NULL, NULL, NULL, NULL);
        if (check_owner(tpm, rc, doing, err) < 0)
                return -1;

        rc = Esys_EvictControl(tpm->esys, ESYS_TR_RH_OWNER, made, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                               ESYS_TR_NONE, STORAGE_KEY_HANDLE, &tpm->storage);
        tpm_flush(tpm, &made);
        return check_owner(tpm, rc, doing, err);
}

int binding_session_open(struct tpm *tpm, TPM2_SE type, struct wla_error *err) {
        if (tpm->session.handle != 0 && tpm->session.type == type)
                return 0;
        return session_start(tpm, &tpm->session, tpm->storage, &tpm->key.storage_name, type, err);
}

static int load_blobs(struct tpm *tpm, struct wla_error *err) {
        TSS2_RC rc = Esys_Load(tpm->esys, tpm->storage, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                               ESYS_TR_NONE, &tpm->key.private, &tpm->key.public, &tpm->binding);
        if (storage_key_check(tpm, rc, "loading the binding key", err) < 0)
                return -1;

        tpm->binding_is_transient = true;
        return 0;
}

static int find_handle(struct tpm *tpm, struct wla_error *err) {
        ESYS_TR found = ESYS_TR_NONE;
        TPM2B_NAME name;
        bool is_there = false;

        if (persistent_find(tpm, tpm->key.handle, &is_there, &found, &name, err) < 0)
                return -1;
        if (!is_there)
                return fail_gone(err, "binding key", tpm->key.handle);
        if (!tpm_name_equal(&name, &tpm->key.name))
                return fail_foreign(tpm, err, "binding key", tpm->key.handle, "made");

        tpm->binding = found;
        tpm->binding_is_transient = false;
        return 0;
}

int binding_key_open(struct tpm *tpm, struct wla_error *err) {
        if (tpm->binding != ESYS_TR_NONE)
                return 0;
        return tpm->key.handle != 0 ? find_handle(tpm, err) : load_blobs(tpm, err);
}
