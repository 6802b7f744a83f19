/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/host_key_load.h"

#include <openssl/evp.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "tpm/host_key_layout.h"
#include "tpm/host_key_slot.h"
#include "tpm/load.h"
#include "tpm/templates.h"

#define NAME_SIZE (2u + TPM2_SHA256_DIGEST_SIZE)

static const char hint_storage[] =
        "the Trust Agent makes it: run its setup task provision-primary-key on this host";
static const char hint_password[] =
        "it is not asked again, because wrong attempts lock a TPM; the Trust Agent makes one "
        "without "
        "a password: run its setup task provision-primary-key, and start the agent again";
static const char hint_aik[] =
        "the Trust Agent makes it: run its setup task provision-aik on this host";
static const char hint_new_key[] = "if the files are not of another host, its TPM was cleared: "
                                   "make and register new keys with "
                                   "'wlagent setup all --force'";
static const char hint_damaged[] =
        "put the file back from a backup, or make and register a new key with 'wlagent setup all "
        "--force'";

static const char hint_interposer[] =
        "something sits between this host and its TPM; see SECURITY.md";

static int find(struct tpm *tpm, uint32_t handle, const char *what, const char *hint, ESYS_TR *ret,
                TPM2B_NAME *ret_name, TPM2B_PUBLIC **ret_public, struct wla_error *err) {
        bool is_there = false;

        if (persistent_find(tpm, handle, &is_there, ret, ret_name, err) < 0)
                return -1;
        if (!is_there)
                return wla_fail_hint(err, WLA_E_TPM, hint, "this TPM has no %s at 0x%08x", what,
                                     handle);

        TSS2_RC rc = Esys_ReadPublic(tpm->esys, *ret, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                     ret_public, NULL, NULL);
        return tpm_check(tpm, rc, "reading a persistent key", err);
}

/* Not to be kept: tpm2-tss remembers what it has once read at a handle. */
static int fail_kind(struct tpm *tpm, uint32_t handle, const char *what, const char *hint,
                     struct wla_error *err) {
        tpm->remedy = TPM_DROP;
        return wla_fail_hint(err, WLA_E_TPM, hint, "the key at 0x%08x of this TPM is no %s", handle,
                             what);
}

/* The name goes into what the TPM is asked, and the salt of sessions to what has it: what the TPM says of it is not
 * enough. */
static int check_name(struct tpm *tpm, uint32_t handle, const TPM2B_PUBLIC *public,
                      const TPM2B_NAME *name, struct wla_error *err) {
        TPM2B_NAME computed;

        if (tpm_name_compute(public, &computed, err) < 0)
                return -1;
        if (tpm_name_equal(&computed, name))
                return 0;
        tpm->remedy = TPM_DROP;
        return wla_fail_hint(err, WLA_E_TPM, hint_interposer,
                             "the TPM tells of another key at 0x%08x than its name says", handle);
}

int host_storage_open(struct tpm *tpm, struct wla_error *err) {
        static const char what[] = "storage key";
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        ESYS_TR found = ESYS_TR_NONE;
        TPM2B_NAME name;

        if (tpm->host_storage != ESYS_TR_NONE)
                return 0;
        if (find(tpm, HOST_STORAGE_KEY_HANDLE, what, hint_storage, &found, &name, &public, err) < 0)
                return -1;
        if (!is_storage_key(public))
                return fail_kind(tpm, HOST_STORAGE_KEY_HANDLE, what, hint_storage, err);
        if (check_name(tpm, HOST_STORAGE_KEY_HANDLE, public, &name, err) < 0)
                return -1;

        tpm->host_storage = found;
        tpm->host_storage_name = name;
        return 0;
}

int host_aik_open(struct tpm *tpm, uint32_t handle, TPM2B_NAME *ret_name, uint8_t ret_modulus[256],
                  struct wla_error *err) {
        static const char what[] = "attestation key";
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        ESYS_TR found = ESYS_TR_NONE;

        if (find(tpm, handle, what, hint_aik, &found, ret_name, &public, err) < 0)
                return -1;
        if (!is_attestation_key(public))
                return fail_kind(tpm, handle, what, hint_aik, err);
        if (check_name(tpm, handle, public, ret_name, err) < 0)
                return -1;
        memcpy(ret_modulus, public->publicArea.unique.rsa.buffer, RSA_WRAPPED_SIZE);
        return 0;
}

static int host_session_open(struct tpm *tpm, struct wla_error *err) {
        if (tpm->host_session.handle != 0)
                return 0;
        return session_start(tpm, &tpm->host_session, tpm->host_storage, &tpm->host_storage_name,
                             TPM2_SE_HMAC, err);
}

TPM2B_NAME host_key_name(const struct host_key *key) {
        TPM2B_NAME name = {.size = NAME_SIZE};

        memcpy(name.name, key->name + 2, NAME_SIZE);
        return name;
}

/* A qualified name is the digest of the parent's qualified name and the object's name; that of a hierarchy is
 * its handle (Part 1, section 16). */
static int qualify(const uint8_t *parent, size_t parent_size, const uint8_t name[NAME_SIZE],
                   uint8_t ret[NAME_SIZE]) {
        static const uint8_t algorithm[] = {ALG_SHA256};
        uint8_t both[2 * NAME_SIZE];
        unsigned size = 0;

        memcpy(both, parent, parent_size);
        memcpy(both + parent_size, name, NAME_SIZE);
        memcpy(ret, algorithm, sizeof(algorithm));
        return EVP_Digest(both, parent_size + NAME_SIZE, ret + sizeof(algorithm), &size,
                          EVP_sha256(), NULL) == 1
                       ? 0
                       : -1;
}

int host_key_check_parent(struct tpm *tpm, const struct host_key *key, struct wla_error *err) {
        static const uint8_t owner[] = {0x40, 0x00, 0x00, 0x01};
        uint8_t storage[NAME_SIZE];
        uint8_t wanted[NAME_SIZE];

        if (tpm->host_storage_name.size != NAME_SIZE ||
            qualify(owner, sizeof(owner), tpm->host_storage_name.name, storage) < 0 ||
            qualify(storage, sizeof(storage), key->name + 2, wanted) < 0)
                return wla_fail(err, WLA_E_SYSTEM, "cannot compute a name");
        if (memcmp(key->attestation + ATTEST_QUALIFIED_NAME_AT + 2, wanted, NAME_SIZE) == 0)
                return 0;

        tpm->remedy = TPM_DROP;
        tpm->host_key_foreign = true;
        return wla_fail_hint(err, WLA_E_TPM, hint_new_key,
                             "the %s was made under another storage key than the one at 0x%08x of "
                             "this TPM",
                             host_key_usage_name(key->usage), HOST_STORAGE_KEY_HANDLE);
}

/* The connection goes, so that the next request sees whether there is another storage key. */
static int fail_password(struct tpm *tpm, struct wla_error *err) {
        tpm->remedy = TPM_DROP;
        return wla_fail_hint(err, WLA_E_TPM, hint_password,
                             "the storage key at 0x%08x of this TPM has a password",
                             HOST_STORAGE_KEY_HANDLE);
}

int host_storage_may_ask(struct tpm *tpm, struct wla_error *err) {
        if (tpm->host_storage_refused.size > 0 &&
            tpm_name_equal(&tpm->host_storage_refused, &tpm->host_storage_name))
                return fail_password(tpm, err);
        return 0;
}

int host_storage_check(struct tpm *tpm, TSS2_RC rc, const char *doing, struct wla_error *err) {
        TPM2_RC base = tpm_rc_base(rc);
        int r = tpm_check(tpm, rc, doing, err);

        if (base != TPM2_RC_BAD_AUTH && base != TPM2_RC_AUTH_FAIL)
                return r;
        tpm->host_storage_refused = tpm->host_storage_name;
        (void)fail_password(tpm, err);
        return wla_wrap(err, "%s (0x%x)", doing, rc);
}

/* The public half is right, or the file would not have been read: these are what TPM2_Load() says of the other one
 * (Part 3, section 12.2). */
static int check_load(struct tpm *tpm, TSS2_RC rc, const struct host_key *key,
                      struct wla_error *err) {
        TPM2_RC base = tpm_rc_base(rc);
        int r = host_storage_check(tpm, rc, "loading the key", err);

        if (base != TPM2_RC_INTEGRITY && base != TPM2_RC_BINDING && base != TPM2_RC_SENSITIVE &&
            base != TPM2_RC_SIZE && base != TPM2_RC_INSUFFICIENT)
                return r;
        tpm->host_key_foreign = true;
        return wla_fail_hint(err, WLA_E_TPM, hint_damaged,
                             "the private half of the %s is damaged, or not its own (0x%x)",
                             host_key_usage_name(key->usage), rc);
}

int host_key_load(struct tpm *tpm, const struct host_key *key, ESYS_TR *ret,
                  struct wla_error *err) {
        TPM2B_PUBLIC public = {0};
        TPM2B_PRIVATE private = {0};

        if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(key->public, sizeof(key->public), NULL, &public) !=
                    TSS2_RC_SUCCESS ||
            Tss2_MU_TPM2B_PRIVATE_Unmarshal(key->private, key->private_size, NULL, &private) !=
                    TSS2_RC_SUCCESS) {
                tpm->host_key_foreign = true;
                return wla_fail_hint(err, WLA_E_TPM, hint_damaged,
                                     "the TPM software stack does not understand the %s",
                                     host_key_usage_name(key->usage));
        }
        if (host_storage_may_ask(tpm, err) < 0)
                return -1;
        return check_load(tpm,
                          Esys_Load(tpm->esys, tpm->host_storage, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                    ESYS_TR_NONE, &private, &public, ret),
                          key, err);
}

int host_key_open(struct tpm *tpm, enum host_key_usage usage, struct wla_error *err) {
        const struct host_key *key = &tpm->host_keys[usage].key;

        if (host_storage_open(tpm, err) < 0 || host_key_check_parent(tpm, key, err) < 0 ||
            host_session_open(tpm, err) < 0)
                return -1;
        if (tpm->host_key != ESYS_TR_NONE && tpm->host_key_usage == usage)
                return 0;

        tpm_flush(tpm, &tpm->host_key);
        tpm->host_key_usage = usage;
        return host_key_load(tpm, key, &tpm->host_key, err);
}
