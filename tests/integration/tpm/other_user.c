/* SPDX-License-Identifier: Apache-2.0 */
#include "other_user.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>

#include "tpm/swtpm_tcti.h"
#include "tpm/templates.h"

#define LOCKOUT_TRIES 3u

struct user {
        TSS2_TCTI_CONTEXT *tcti;
        ESYS_CONTEXT *esys;
};

static const TPM2B_SENSITIVE_CREATE no_password;
static const TPM2B_DATA no_data;
static const TPML_PCR_SELECTION no_pcrs;

static struct user begin(const char *tcti) {
        struct user user = {0};
        struct wla_error err = {0};

        (void)setenv("TSS2_LOG", "all+NONE", false);
        ck_assert_int_eq(swtpm_tcti_new(tcti, 10000, &user.tcti, &err), 0);
        ck_assert_uint_eq(Esys_Initialize(&user.esys, user.tcti, NULL), TSS2_RC_SUCCESS);
        return user;
}

static void end(struct user *user) {
        Esys_Finalize(&user->esys);
        user->tcti = swtpm_tcti_free(user->tcti);
}

void other_user_extends(const char *tcti, uint32_t pcr) {
        const TPML_DIGEST_VALUES digests = {
                .count = 1,
                .digests[0] = {.hashAlg = TPM2_ALG_SHA256, .digest.sha256 = {0x5a}},
        };
        struct user user = begin(tcti);

        ck_assert_uint_eq(Esys_PCR_Extend(user.esys, pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                          ESYS_TR_NONE, &digests),
                          TSS2_RC_SUCCESS);
        end(&user);
}

static ESYS_TR make_primary(struct user *user, const TPM2B_SENSITIVE_CREATE *password,
                            const TPM2B_PUBLIC *template) {
        ESYS_TR made = ESYS_TR_NONE;

        ck_assert_uint_eq(Esys_CreatePrimary(user->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                             ESYS_TR_NONE, ESYS_TR_NONE, password, template,
                                             &no_data, &no_pcrs, &made, NULL, NULL, NULL, NULL),
                          TSS2_RC_SUCCESS);
        return made;
}

static void make_persistent(const char *tcti, uint32_t handle,
                            const TPM2B_SENSITIVE_CREATE *password, const TPM2B_PUBLIC *template) {
        struct user user = begin(tcti);
        ESYS_TR made = make_primary(&user, password, template);
        ESYS_TR persistent = ESYS_TR_NONE;

        ck_assert_uint_eq(Esys_EvictControl(user.esys, ESYS_TR_RH_OWNER, made, ESYS_TR_PASSWORD,
                                            ESYS_TR_NONE, ESYS_TR_NONE, handle, &persistent),
                          TSS2_RC_SUCCESS);
        ck_assert_uint_eq(Esys_FlushContext(user.esys, made), TSS2_RC_SUCCESS);
        end(&user);
}

void other_user_makes_key(const char *tcti, uint32_t handle, const TPM2B_PUBLIC *template) {
        make_persistent(tcti, handle, &no_password, template);
}

void other_user_makes_key_with_password(const char *tcti, uint32_t handle,
                                        const TPM2B_PUBLIC *template, const char *password) {
        TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.userAuth.size = (uint16_t)strlen(password)};

        memcpy(sensitive.sensitive.userAuth.buffer, password, strlen(password));
        make_persistent(tcti, handle, &sensitive, template);
}

void other_user_makes_aik(const char *tcti, uint32_t handle, const char *password) {
        TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.userAuth.size = (uint16_t)strlen(password)};
        TPM2B_PUBLIC template = host_key_template(
                TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT);

        memcpy(sensitive.sensitive.userAuth.buffer, password, strlen(password));
        template.publicArea.parameters.rsaDetail.scheme = (TPMT_RSA_SCHEME){
                .scheme = TPM2_ALG_RSASSA,
                .details.rsassa.hashAlg = TPM2_ALG_SHA256,
        };
        make_persistent(tcti, handle, &sensitive, &template);
}

void other_user_removes_key(const char *tcti, uint32_t handle) {
        struct user user = begin(tcti);
        ESYS_TR found = ESYS_TR_NONE;
        ESYS_TR gone = ESYS_TR_NONE;

        ck_assert_uint_eq(Esys_TR_FromTPMPublic(user.esys, handle, ESYS_TR_NONE, ESYS_TR_NONE,
                                                ESYS_TR_NONE, &found),
                          TSS2_RC_SUCCESS);
        ck_assert_uint_eq(Esys_EvictControl(user.esys, ESYS_TR_RH_OWNER, found, ESYS_TR_PASSWORD,
                                            ESYS_TR_NONE, ESYS_TR_NONE, handle, &gone),
                          TSS2_RC_SUCCESS);
        end(&user);
}

bool other_user_has_key(const char *tcti, uint32_t handle) {
        struct user user = begin(tcti);
        ESYS_TR found = ESYS_TR_NONE;
        TSS2_RC rc = Esys_TR_FromTPMPublic(user.esys, handle, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, &found);
        end(&user);
        return rc == TSS2_RC_SUCCESS;
}

void other_user_sets_owner_password(const char *tcti, const char *password) {
        struct user user = begin(tcti);
        TPM2B_AUTH auth = {.size = (uint16_t)strlen(password)};

        memcpy(auth.buffer, password, auth.size);
        ck_assert_uint_eq(Esys_HierarchyChangeAuth(user.esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                                   ESYS_TR_NONE, ESYS_TR_NONE, &auth),
                          TSS2_RC_SUCCESS);
        end(&user);
}

void other_user_clears(const char *tcti) {
        struct user user = begin(tcti);

        ck_assert_uint_eq(Esys_Clear(user.esys, ESYS_TR_RH_LOCKOUT, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                     ESYS_TR_NONE),
                          TSS2_RC_SUCCESS);
        end(&user);
}

void other_user_causes_lockout(const char *tcti) {
        struct user user = begin(tcti);
        TPM2B_SENSITIVE_CREATE password = {.sensitive.userAuth = {.size = 5, .buffer = "right"}};
        TPM2B_AUTH wrong = {.size = 5, .buffer = "wrong"};
        TPM2B_PUBLIC template = storage_key_template;

        template.publicArea.objectAttributes &= ~(TPMA_OBJECT)TPMA_OBJECT_NODA;
        ck_assert_uint_eq(Esys_DictionaryAttackParameters(user.esys, ESYS_TR_RH_LOCKOUT,
                                                          ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                                          ESYS_TR_NONE, LOCKOUT_TRIES, 1000, 1000),
                          TSS2_RC_SUCCESS);
        ESYS_TR made = make_primary(&user, &password, &template);
        ck_assert_uint_eq(Esys_TR_SetAuth(user.esys, made, &wrong), TSS2_RC_SUCCESS);

        TSS2_RC rc = TSS2_RC_SUCCESS;
        for (unsigned i = 0; i < 2 * LOCKOUT_TRIES && rc != TPM2_RC_LOCKOUT; i++) {
                TPM2B_PRIVATE *private = NULL;
                TPM2B_PUBLIC *public = NULL;
                const TPM2B_PUBLIC child = binding_key_template(&(TPM2B_DIGEST){0});

                rc = Esys_Create(user.esys, made, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                 &no_password, &child, &no_data, &no_pcrs, &private, &public, NULL,
                                 NULL, NULL);
                ck_assert_uint_ne(rc, TSS2_RC_SUCCESS);
        }
        ck_assert_uint_eq(rc, TPM2_RC_LOCKOUT);
        ck_assert_uint_eq(Esys_FlushContext(user.esys, made), TSS2_RC_SUCCESS);
        end(&user);
}

void other_user_ends_lockout(const char *tcti) {
        struct user user = begin(tcti);

        ck_assert_uint_eq(Esys_DictionaryAttackLockReset(user.esys, ESYS_TR_RH_LOCKOUT,
                                                         ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                                         ESYS_TR_NONE),
                          TSS2_RC_SUCCESS);
        end(&user);
}

static void flush_from(struct user *user, TPM2_HANDLE first) {
        TPMS_CAPABILITY_DATA *found = NULL;
        TPMI_YES_NO more = TPM2_NO;

        ck_assert_uint_eq(Esys_GetCapability(user->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                             TPM2_CAP_HANDLES, first, 16, &more, &found),
                          TSS2_RC_SUCCESS);
        ck_assert_uint_gt(found->data.handles.count, 0);
        for (uint32_t i = 0; i < found->data.handles.count; i++) {
                ESYS_TR handle = ESYS_TR_NONE;

                ck_assert_uint_eq(Esys_TR_FromTPMPublic(user->esys, found->data.handles.handle[i],
                                                        ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                                        &handle),
                                  TSS2_RC_SUCCESS);
                ck_assert_uint_eq(Esys_FlushContext(user->esys, handle), TSS2_RC_SUCCESS);
        }
        Esys_Free(found);
}

void other_user_flushes(const char *tcti) {
        struct user user = begin(tcti);

        flush_from(&user, 0x80000000u);
        flush_from(&user, TPM2_LOADED_SESSION_FIRST);
        end(&user);
}

void other_user_fills_up(const char *tcti) {
        struct user user = begin(tcti);
        ESYS_TR made = ESYS_TR_NONE;
        TSS2_RC rc;

        do {
                rc = Esys_StartAuthSession(user.esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, ESYS_TR_NONE, NULL, TPM2_SE_HMAC,
                                           &session_cipher, TPM2_ALG_SHA256, &made);
        } while (rc == TSS2_RC_SUCCESS);
        ck_assert_uint_eq(rc, TPM2_RC_SESSION_MEMORY);

        do {
                rc = Esys_CreatePrimary(user.esys, ESYS_TR_RH_NULL, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                        ESYS_TR_NONE, &no_password, &storage_key_template, &no_data,
                                        &no_pcrs, &made, NULL, NULL, NULL, NULL);
        } while (rc == TSS2_RC_SUCCESS);
        ck_assert_uint_eq(rc, TPM2_RC_OBJECT_MEMORY);
        end(&user);
}
