/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "tpm/auth_value.h"
#include "tpm/context.h"
#include "tpm/session_salt.h"
#include "tpm/templates.h"

#define KEY_SIZE      SESSION_DIGEST_SIZE
#define KEY_MAX       (KEY_SIZE + AUTH_VALUE_MAX)
#define PARAMETER_MAX 64u /* of those that are encrypted */
#define USERS_MAX     2u

TSS2_SYS_CONTEXT *session_sys(struct tpm *tpm) {
        TSS2_SYS_CONTEXT *sys = NULL;

        return Esys_GetSysContext(tpm->esys, &sys) == TSS2_RC_SUCCESS ? sys : NULL;
}

void session_forget(struct session *session) {
        (void)wla_secret_free(session->key);
        *session = (struct session){0};
}

void session_end(struct tpm *tpm, struct session *session) {
        TSS2_SYS_CONTEXT *sys = session_sys(tpm);

        if (session->handle != 0 && sys &&
            Tss2_Sys_FlushContext(sys, session->handle) != TSS2_RC_SUCCESS)
                tpm->left_behind = true;
        session_forget(session);
}

/* A TPM that answers for another one would get to know the salt, and with it all that the session protects. */
static int read_storage(struct tpm *tpm, ESYS_TR storage, const TPM2B_NAME *name, TPM2B_PUBLIC *ret,
                        struct wla_error *err) {
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        TPM2B_NAME computed;

        TSS2_RC rc = Esys_ReadPublic(tpm->esys, storage, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                     &public, NULL, NULL);
        if (tpm_check(tpm, rc, "reading the storage key", err) < 0 ||
            tpm_name_compute(public, &computed, err) < 0)
                return -1;
        if (!tpm_name_equal(&computed, name)) {
                tpm->remedy = TPM_DROP;
                return wla_fail_hint(err, WLA_E_TPM,
                                     "something sits between this host and its TPM; see "
                                     "SECURITY.md",
                                     "the TPM tells of another storage key than before");
        }
        *ret = *public;
        return 0;
}

static TSS2_RC derive_key(struct session *session, const struct wla_secret *salt,
                          const TPM2B_NONCE *nonce_caller, const TPM2B_NONCE *nonce_tpm) {
        const struct session_nonces nonces = {.newer = nonce_tpm->buffer,
                                              .older = nonce_caller->buffer};

        if (nonce_tpm->size != SESSION_DIGEST_SIZE)
                return TSS2_ESYS_RC_MALFORMED_RESPONSE;
        if (session_derive(wla_secret_view(salt), "ATH", nonces, wla_secret_fill(session->key)) < 0)
                return TSS2_ESYS_RC_MEMORY;

        memcpy(session->nonce_tpm, nonce_tpm->buffer, SESSION_DIGEST_SIZE);
        return TSS2_RC_SUCCESS;
}

static TSS2_RC start(struct tpm *tpm, struct session *session, ESYS_TR storage, TPM2_SE type,
                     const struct wla_secret *salt, const TPM2B_ENCRYPTED_SECRET *encrypted) {
        TPM2B_NONCE nonce_caller = {.size = SESSION_DIGEST_SIZE};
        TPM2B_NONCE nonce_tpm = {0};
        TPM2_HANDLE salt_key = 0;

        TSS2_RC rc = Esys_TR_GetTpmHandle(tpm->esys, storage, &salt_key);
        if (rc == TSS2_RC_SUCCESS && RAND_bytes(nonce_caller.buffer, SESSION_DIGEST_SIZE) != 1)
                rc = TSS2_ESYS_RC_MEMORY;
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_StartAuthSession(session_sys(tpm), salt_key, TPM2_RH_NULL, NULL,
                                               &nonce_caller, encrypted, type, &session_cipher,
                                               TPM2_ALG_SHA256, &session->handle, &nonce_tpm, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return rc;

        session->type = type;
        return derive_key(session, salt, &nonce_caller, &nonce_tpm);
}

int session_start(struct tpm *tpm, struct session *session, ESYS_TR storage, const TPM2B_NAME *name,
                  TPM2_SE type, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *salt = NULL;
        TPM2B_ENCRYPTED_SECRET encrypted;
        TPM2B_PUBLIC public;

        session_end(tpm, session);
        if (read_storage(tpm, storage, name, &public, err) < 0 ||
            session_salt_make(&public, &salt, &encrypted, err) < 0 ||
            wla_secret_new(KEY_MAX, &session->key, err) < 0)
                return -1;

        TSS2_RC rc = start(tpm, session, storage, type, salt, &encrypted);
        if (rc != TSS2_RC_SUCCESS)
                session_end(tpm, session);
        return tpm_check(tpm, rc, "opening a session with the TPM", err);
}

/* A key of the command, and who uses it. */
struct user {
        struct session *session;
        const TPM2B_NAME *key_name;
        struct wla_bytes key; /* the session's, and the authorisation value behind it */
        TPMA_SESSION attributes;
        uint8_t nonce_caller[SESSION_DIGEST_SIZE];
};

/* One command and its answer. */
struct exchange {
        TSS2_SYS_CONTEXT *sys;
        struct user users[USERS_MAX]; /* what is encrypted is with the first one's key */
        uint16_t count;
};

static int digest_parts(const struct wla_bytes *parts, size_t count,
                        uint8_t ret[SESSION_DIGEST_SIZE]) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        bool good = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;

        for (size_t i = 0; i < count && good; i++)
                good = EVP_DigestUpdate(context, parts[i].data, parts[i].size) == 1;
        good = good && EVP_DigestFinal_ex(context, ret, NULL) == 1;
        EVP_MD_CTX_free(context);
        return good ? 0 : -1;
}

static struct session_nonces nonces_of_command(const struct user *user) {
        return (struct session_nonces){.newer = user->nonce_caller,
                                       .older = user->session->nonce_tpm};
}

static struct session_nonces nonces_of_answer(const struct user *user,
                                              const uint8_t nonce_tpm[SESSION_DIGEST_SIZE]) {
        return (struct session_nonces){.newer = nonce_tpm, .older = user->nonce_caller};
}

static TSS2_RC encrypt_parameter(const struct exchange *exchange) {
        const struct user *user = &exchange->users[0];
        uint8_t encrypted[PARAMETER_MAX];
        const uint8_t *data = NULL;
        size_t size = 0;

        TSS2_RC rc = Tss2_Sys_GetDecryptParam(exchange->sys, &size, &data);
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        if (size > sizeof(encrypted))
                return TSS2_ESYS_RC_BAD_SIZE;
        if (session_cipher_parameter(user->key, nonces_of_command(user), true,
                                     (struct wla_bytes){.data = data, .size = size}, encrypted) < 0)
                return TSS2_ESYS_RC_MEMORY;
        return Tss2_Sys_SetDecryptParam(exchange->sys, size, encrypted);
}

/* Part 1, section 18.7: cpHash. */
static TSS2_RC digest_command(const struct exchange *exchange, uint8_t ret[SESSION_DIGEST_SIZE]) {
        uint8_t code[sizeof(TPM2_CC)];
        struct wla_bytes parts[1 + USERS_MAX + 1] = {{.data = code, .size = sizeof(code)}};
        size_t count = 1;

        for (size_t i = 0; i < exchange->count; i++) {
                const TPM2B_NAME *name = exchange->users[i].key_name;
                parts[count++] = (struct wla_bytes){.data = name->name, .size = name->size};
        }

        TSS2_RC rc = Tss2_Sys_GetCommandCode(exchange->sys, code);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_GetCpBuffer(exchange->sys, &parts[count].size, &parts[count].data);
        if (rc == TSS2_RC_SUCCESS && digest_parts(parts, count + 1, ret) < 0)
                rc = TSS2_ESYS_RC_MEMORY;
        return rc;
}

/* Part 1, section 19.6.5: what the HMAC is computed of. */
static TSS2_RC authorise(const struct exchange *exchange) {
        TSS2L_SYS_AUTH_COMMAND auths = {.count = exchange->count};
        uint8_t parameters[SESSION_DIGEST_SIZE];

        TSS2_RC rc = digest_command(exchange, parameters);
        if (rc != TSS2_RC_SUCCESS)
                return rc;

        for (size_t i = 0; i < exchange->count; i++) {
                const struct user *user = &exchange->users[i];
                TPMS_AUTH_COMMAND *auth = &auths.auths[i];

                auth->sessionHandle = user->session->handle;
                auth->sessionAttributes = user->attributes;
                auth->nonce.size = auth->hmac.size = SESSION_DIGEST_SIZE;
                memcpy(auth->nonce.buffer, user->nonce_caller, SESSION_DIGEST_SIZE);
                if (session_authenticate(user->key, parameters, nonces_of_command(user),
                                         user->attributes, auth->hmac.buffer) < 0)
                        return TSS2_ESYS_RC_MEMORY;
        }
        return Tss2_Sys_SetCmdAuths(exchange->sys, &auths);
}

/* Part 1, section 18.8: rpHash.  The response code is that of success, or there would be no HMAC. */
static TSS2_RC digest_answer(const struct exchange *exchange, struct wla_bytes answer,
                             uint8_t ret[SESSION_DIGEST_SIZE]) {
        static const uint8_t success[sizeof(TPM2_RC)];
        uint8_t code[sizeof(TPM2_CC)];
        const struct wla_bytes parts[] = {{.data = success, .size = sizeof(success)},
                                          {.data = code, .size = sizeof(code)},
                                          answer};

        TSS2_RC rc = Tss2_Sys_GetCommandCode(exchange->sys, code);
        if (rc == TSS2_RC_SUCCESS && digest_parts(parts, 3, ret) < 0)
                rc = TSS2_ESYS_RC_MEMORY;
        return rc;
}

/* The attributes are copied from the command (Part 2, section 8.4). */
static TSS2_RC check_answer(const struct user *user, const TPMS_AUTH_RESPONSE *auth,
                            const uint8_t parameters[SESSION_DIGEST_SIZE]) {
        uint8_t expected[SESSION_DIGEST_SIZE];

        if (auth->nonce.size != SESSION_DIGEST_SIZE)
                return TSS2_ESYS_RC_MALFORMED_RESPONSE;
        if (session_authenticate(user->key, parameters, nonces_of_answer(user, auth->nonce.buffer),
                                 auth->sessionAttributes, expected) < 0)
                return TSS2_ESYS_RC_MEMORY;
        if (auth->sessionAttributes != user->attributes || auth->hmac.size != SESSION_DIGEST_SIZE ||
            CRYPTO_memcmp(auth->hmac.buffer, expected, SESSION_DIGEST_SIZE) != 0)
                return TSS2_ESYS_RC_RSP_AUTH_FAILED;

        memcpy(user->session->nonce_tpm, auth->nonce.buffer, SESSION_DIGEST_SIZE);
        return TSS2_RC_SUCCESS;
}

/* GetRspAuths() goes first: it has looked whether the parameters end within the answer.  Behind a command that has
 * succeeded it finds itself out of sequence when somebody has cut the sessions off the answer. */
static TSS2_RC receive(const struct exchange *exchange, struct wla_bytes *ret) {
        TSS2L_SYS_AUTH_RESPONSE auths = {0};
        uint8_t parameters[SESSION_DIGEST_SIZE];

        TSS2_RC rc = Tss2_Sys_GetRspAuths(exchange->sys, &auths);
        if (rc == TSS2_SYS_RC_BAD_SEQUENCE)
                return TSS2_ESYS_RC_RSP_AUTH_FAILED;
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_GetRpBuffer(exchange->sys, &ret->size, &ret->data);
        if (rc == TSS2_RC_SUCCESS && auths.count != exchange->count)
                rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
        if (rc == TSS2_RC_SUCCESS)
                rc = digest_answer(exchange, *ret, parameters);
        for (size_t i = 0; i < exchange->count && rc == TSS2_RC_SUCCESS; i++)
                rc = check_answer(&exchange->users[i], &auths.auths[i], parameters);
        return rc;
}

/* Only behind receive(): what is in the answer is the TPM's. */
static TSS2_RC take_secret(const struct user *user, struct wla_bytes answer,
                           struct wla_secret *into) {
        if (answer.size < 2 || answer.size - 2 > wla_secret_view(into).size ||
            answer.size - 2 != (size_t)(answer.data[0] << 8 | answer.data[1]))
                return TSS2_ESYS_RC_MALFORMED_RESPONSE;

        const struct wla_bytes encrypted = {.data = answer.data + 2, .size = answer.size - 2};
        wla_secret_truncate(into, encrypted.size);
        return session_cipher_parameter(user->key, nonces_of_answer(user, user->session->nonce_tpm),
                                        false, encrypted, wla_secret_fill(into)) == 0
                       ? TSS2_RC_SUCCESS
                       : TSS2_ESYS_RC_MEMORY;
}

static TSS2_RC run(const struct exchange *exchange, bool encrypt, struct wla_secret *into) {
        struct wla_bytes answer = {0};
        TSS2_RC rc = TSS2_RC_SUCCESS;

        if (encrypt)
                rc = encrypt_parameter(exchange);
        if (rc == TSS2_RC_SUCCESS)
                rc = authorise(exchange);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_Execute(exchange->sys);
        if (rc == TSS2_RC_SUCCESS)
                rc = receive(exchange, &answer);
        if (rc == TSS2_RC_SUCCESS && into)
                rc = take_secret(&exchange->users[0], answer, into);
        return rc;
}

static TSS2_RC add_user(struct exchange *exchange, const struct session_use *use,
                        TPMA_SESSION attributes) {
        struct user *user = &exchange->users[exchange->count];
        uint8_t *key = wla_secret_fill(use->session->key);
        struct wla_bytes auth = {0};

        if (use->auth)
                auth = wla_secret_view(use->auth);
        if (auth.size > AUTH_VALUE_MAX)
                return TSS2_ESYS_RC_BAD_SIZE;
        if (RAND_bytes(user->nonce_caller, SESSION_DIGEST_SIZE) != 1)
                return TSS2_ESYS_RC_MEMORY;

        if (auth.size > 0)
                memcpy(key + KEY_SIZE, auth.data, auth.size);
        user->session = use->session;
        user->key_name = use->key_name;
        user->key = (struct wla_bytes){.data = key, .size = KEY_SIZE + auth.size};
        user->attributes = TPMA_SESSION_CONTINUESESSION | attributes;
        exchange->count++;
        return TSS2_RC_SUCCESS;
}

static TSS2_RC execute(struct tpm *tpm, const struct session_command *command,
                       struct wla_secret *into) {
        struct exchange exchange = {.sys = session_sys(tpm)};

        TSS2_RC rc = add_user(&exchange, &command->use,
                              (command->encrypt ? TPMA_SESSION_DECRYPT : 0) |
                                      (into ? TPMA_SESSION_ENCRYPT : 0));
        if (rc == TSS2_RC_SUCCESS && command->second)
                rc = add_user(&exchange, command->second, 0);
        if (rc == TSS2_RC_SUCCESS)
                rc = run(&exchange, command->encrypt, into);
        for (size_t i = 0; i < exchange.count; i++)
                OPENSSL_cleanse(wla_secret_fill(exchange.users[i].session->key) + KEY_SIZE,
                                AUTH_VALUE_MAX);
        return rc;
}

/* Somebody may have made up the error, whose answer bears no HMAC, for a command that the TPM has taken: its nonce is
 * another one by now, and it would count the next command as a wrong authorisation. */
static void give_up(struct tpm *tpm, struct session *session, TSS2_RC rc) {
        if ((rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER)
                session_forget(session);
        else
                session_end(tpm, session);
}

TSS2_RC session_execute(struct tpm *tpm, const struct session_command *command,
                        struct wla_secret *into) {
        TSS2_RC rc = execute(tpm, command, into);

        if (rc != TSS2_RC_SUCCESS)
                give_up(tpm, command->use.session, rc);
        if (rc != TSS2_RC_SUCCESS && command->second)
                give_up(tpm, command->second->session, rc);
        return rc;
}
