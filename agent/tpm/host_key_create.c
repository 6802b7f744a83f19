/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/crypto.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "tpm/auth_value.h"
#include "tpm/host_key_layout.h"
#include "tpm/host_key_load.h"
#include "tpm/key_create.h"
#include "tpm/templates.h"

static const char hint_aik_secret[] = "not tried again, because wrong attempts lock a TPM; Trust "
                                      "Agents before 4.0 gave it a secret: "
                                      "it is AIK_SECRET";

struct creation {
        enum host_key_usage usage;
        uint32_t aik_handle;
        struct wla_secret *secret; /* both as the TPM compares them */
        struct wla_secret *aik_secret;

        TPM2B_NAME aik_name;
        struct session session;
        struct session aik_session;
        ESYS_TR loaded;
        uint8_t aik_modulus[RSA_WRAPPED_SIZE];
        struct host_key key;
};

static int store_key(const TPM2B_PUBLIC *public, const TPM2B_PRIVATE *private, struct host_key *key,
                     struct wla_error *err) {
        size_t public_size = 0;

        key->private_size = 0;
        if (Tss2_MU_TPM2B_PUBLIC_Marshal(public, key->public, sizeof(key->public), &public_size) !=
                    TSS2_RC_SUCCESS ||
            public_size != sizeof(key->public) ||
            Tss2_MU_TPM2B_PRIVATE_Marshal(private, key->private, sizeof(key->private),
                                          &key->private_size) != TSS2_RC_SUCCESS)
                return wla_fail(err, WLA_E_TPM, "the TPM made a key of another kind");
        return host_key_compute_name(key, key->name, err);
}

/* The empty password of the storage key authorises it. */
static TSS2_RC ask_create(struct tpm *tpm, struct creation *creation,
                          const TPM2B_SENSITIVE_CREATE *sensitive, TPM2B_PRIVATE *private,
                          TPM2B_PUBLIC *public) {
        const TPM2B_PUBLIC template = host_key_template(creation->usage == HOST_KEY_SIGNING
                                                                ? HOST_KEY_SIGNING_ATTRIBUTES
                                                                : HOST_KEY_BINDING_ATTRIBUTES);
        const struct session_use parent = {
                .session = &creation->session,
                .key_name = &tpm->host_storage_name,
        };

        return key_create(tpm, HOST_STORAGE_KEY_HANDLE, &parent, sensitive, &template, private,
                          public);
}

/* The session keeps the secret from the bus, and proves that the public part comes from the TPM that holds
 * the storage key. */
static int create(struct tpm *tpm, struct creation *creation, struct wla_error *err) {
        TPM2B_SENSITIVE_CREATE sensitive = {0};
        TPM2B_PRIVATE private = {0};
        TPM2B_PUBLIC public = {0};

        if (host_storage_may_ask(tpm, err) < 0)
                return -1;
        auth_value_copy(creation->secret, &sensitive.sensitive.userAuth);
        TSS2_RC rc = ask_create(tpm, creation, &sensitive, &private, &public);
        OPENSSL_cleanse(&sensitive, sizeof(sensitive));
        if (host_storage_check(tpm, rc, "making the key", err) < 0)
                return -1;

        creation->key.usage = creation->usage;
        return store_key(&public, &private, &creation->key, err);
}

static int store_certification(const TPM2B_ATTEST *attestation, const TPMT_SIGNATURE *signature,
                               struct host_key *key, struct wla_error *err) {
        size_t attestation_size = 0;
        size_t signature_size = 0;

        if (Tss2_MU_TPM2B_ATTEST_Marshal(attestation, key->attestation, sizeof(key->attestation),
                                         &attestation_size) != TSS2_RC_SUCCESS ||
            attestation_size != sizeof(key->attestation) ||
            Tss2_MU_TPMT_SIGNATURE_Marshal(signature, key->signature, sizeof(key->signature),
                                           &signature_size) != TSS2_RC_SUCCESS ||
            signature_size != sizeof(key->signature))
                return wla_fail(err, WLA_E_TPM, "the TPM made a certification of another kind");
        return 0;
}

static int check_certify(struct tpm *tpm, TSS2_RC rc, const struct creation *creation,
                         struct wla_error *err) {
        TPM2_RC base = tpm_rc_base(rc);
        int r = tpm_check(tpm, rc, "certifying the key", err);

        if (base != TPM2_RC_BAD_AUTH && base != TPM2_RC_AUTH_FAIL)
                return r;
        return wla_fail_hint(
                err, WLA_E_TPM, hint_aik_secret,
                "the attestation key at 0x%08x does not accept %s (0x%x)", creation->aik_handle,
                creation->aik_secret ? "this secret" : "to be used without a secret", rc);
}

/* Each of the two keys is authorised in a session, so that no secret crosses the bus. */
static TSS2_RC ask_certify(struct tpm *tpm, struct creation *creation, TPM2B_ATTEST *attestation,
                           TPMT_SIGNATURE *signature) {
        static const TPM2B_DATA qualifying = {
                .size = QUALIFYING_DATA_SIZE,
                .buffer = {QUALIFYING_DATA},
        };
        const TPM2B_NAME name = host_key_name(&creation->key);
        const struct session_use aik = {
                .session = &creation->aik_session,
                .key_name = &creation->aik_name,
                .auth = creation->aik_secret,
        };
        const struct session_command command = {
                .use = {.session = &creation->session, .key_name = &name, .auth = creation->secret},
                .second = &aik,
        };
        TSS2_SYS_CONTEXT *sys = session_sys(tpm);
        TPM2_HANDLE handle = 0;

        TSS2_RC rc = Esys_TR_GetTpmHandle(tpm->esys, creation->loaded, &handle);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_Certify_Prepare(sys, handle, creation->aik_handle, &qualifying,
                                              &host_signing_scheme);
        if (rc == TSS2_RC_SUCCESS)
                rc = session_execute(tpm, &command, NULL);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_Certify_Complete(sys, attestation, signature);
        return rc;
}

static int certify(struct tpm *tpm, struct creation *creation, struct wla_error *err) {
        TPM2B_ATTEST attestation = {0};
        TPMT_SIGNATURE signature = {0};

        TSS2_RC rc = ask_certify(tpm, creation, &attestation, &signature);
        if (check_certify(tpm, rc, creation, err) < 0)
                return -1;
        return store_certification(&attestation, &signature, &creation->key, err);
}

static int open_session(struct tpm *tpm, struct session *session, struct wla_error *err) {
        return session_start(tpm, session, tpm->host_storage, &tpm->host_storage_name, TPM2_SE_HMAC,
                             err);
}

static int make_and_certify(struct tpm *tpm, struct creation *creation, struct wla_error *err) {
        if (host_storage_open(tpm, err) < 0 ||
            host_aik_open(tpm, creation->aik_handle, &creation->aik_name, creation->aik_modulus,
                          err) < 0 ||
            open_session(tpm, &creation->session, err) < 0 || create(tpm, creation, err) < 0 ||
            host_key_load(tpm, &creation->key, &creation->loaded, err) < 0 ||
            open_session(tpm, &creation->aik_session, err) < 0)
                return -1;
        return certify(tpm, creation, err);
}

static int create_step(struct tpm *tpm, void *arg, struct wla_error *err) {
        struct creation *creation = arg;

        creation->loaded = ESYS_TR_NONE;
        int r = make_and_certify(tpm, creation, err);
        session_end(tpm, &creation->session);
        session_end(tpm, &creation->aik_session);
        tpm_flush(tpm, &creation->loaded);
        if (r < 0)
                return -1;

        /* What the file's reader would refuse is not to be written. */
        if (host_key_check(&creation->key, err) < 0 ||
            host_key_check_signature(&creation->key, creation->aik_modulus, err) < 0) {
                err->code = WLA_E_TPM;
                return wla_wrap(err, "what the TPM made");
        }
        return host_key_check_parent(tpm, &creation->key, err);
}

static int decode_secrets(const struct host_key_options *options, struct creation *creation,
                          struct wla_error *err) {
        if (auth_value_decode(options->secret, &creation->secret, err) < 0)
                return wla_wrap(err, "the secret of the %s", host_key_usage_name(options->usage));
        if (!creation->secret)
                return wla_fail(err, WLA_E_INPUT, "the %s needs a secret",
                                host_key_usage_name(options->usage));
        if (auth_value_decode(options->aik_secret, &creation->aik_secret, err) < 0)
                return wla_wrap(err, "the secret of the attestation key");
        return 0;
}

int tpm_host_key_create(struct tpm *tpm, const struct host_key_options *options,
                        struct host_key *ret, struct wla_error *err) {
        struct creation creation = {
                .usage = options->usage,
                .aik_handle = options->aik_handle ? options->aik_handle : HOST_AIK_HANDLE,
        };

        int r = decode_secrets(options, &creation, err);
        if (r == 0) {
                /* Creating needs all the room of a TPM without a resource manager. */
                tpm_disconnect(tpm, true);
                r = tpm_run(tpm, NULL, create_step, &creation, err);
                tpm_disconnect(tpm, true);
        }
        wla_secret_free(creation.secret);
        wla_secret_free(creation.aik_secret);
        if (r < 0)
                return wla_wrap(err, "the %s", host_key_usage_name(options->usage));

        *ret = creation.key;
        return 0;
}
