/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session_exchange.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "tpm/auth_value.h"
#include "tpm/context.h"

#define PARAMETER_MAX 64u /* of those that are encrypted */

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

/* The session's key, and the authorisation value behind it until disarm(). */
static struct wla_bytes arm(const struct session_user *user) {
        uint8_t *key = wla_secret_fill(user->session->key);
        struct wla_bytes auth = {0};

        if (user->auth)
                auth = wla_secret_view(user->auth);
        if (auth.size > 0)
                memcpy(key + SESSION_DIGEST_SIZE, auth.data, auth.size);
        return (struct wla_bytes){.data = key, .size = SESSION_DIGEST_SIZE + auth.size};
}

static void disarm(const struct session_user *user) {
        OPENSSL_cleanse(wla_secret_fill(user->session->key) + SESSION_DIGEST_SIZE, AUTH_VALUE_MAX);
}

static int authenticate(const struct session_user *user,
                        const uint8_t parameters[SESSION_DIGEST_SIZE], struct session_nonces nonces,
                        TPMA_SESSION attributes, uint8_t ret[SESSION_DIGEST_SIZE]) {
        int r = session_authenticate(arm(user), parameters, nonces, attributes, ret);

        disarm(user);
        return r;
}

static int cipher(const struct session_user *user, struct session_nonces nonces, bool encrypt,
                  struct wla_bytes from, uint8_t *to) {
        int r = session_cipher_parameter(arm(user), nonces, encrypt, from, to);

        disarm(user);
        return r;
}

static struct session_nonces nonces_of_command(const struct session_user *user) {
        return (struct session_nonces){.newer = user->nonce_caller,
                                       .older = user->session->nonce_tpm};
}

static struct session_nonces nonces_of_answer(const struct session_user *user,
                                              const uint8_t nonce_tpm[SESSION_DIGEST_SIZE]) {
        return (struct session_nonces){.newer = nonce_tpm, .older = user->nonce_caller};
}

static TSS2_RC encrypt_parameter(const struct session_exchange *exchange) {
        const struct session_user *user = &exchange->users[0];
        uint8_t encrypted[PARAMETER_MAX];
        const uint8_t *data = NULL;
        size_t size = 0;

        TSS2_RC rc = Tss2_Sys_GetDecryptParam(exchange->sys, &size, &data);
        if (rc != TSS2_RC_SUCCESS)
                return rc;
        if (size > sizeof(encrypted))
                return TSS2_ESYS_RC_BAD_SIZE;
        if (cipher(user, nonces_of_command(user), true,
                   (struct wla_bytes){.data = data, .size = size}, encrypted) < 0)
                return TSS2_ESYS_RC_MEMORY;
        return Tss2_Sys_SetDecryptParam(exchange->sys, size, encrypted);
}

/* Part 1, section 18.7: cpHash. */
static TSS2_RC digest_command(const struct session_exchange *exchange,
                              uint8_t ret[SESSION_DIGEST_SIZE]) {
        uint8_t code[sizeof(TPM2_CC)];
        struct wla_bytes parts[1 + SESSION_USERS_MAX + 1] = {{.data = code, .size = sizeof(code)}};
        size_t count = 1;

        for (size_t i = 0; i < exchange->count; i++) {
                const TPM2B_NAME *name = &exchange->users[i].key_name;
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
static TSS2_RC authorise(const struct session_exchange *exchange) {
        TSS2L_SYS_AUTH_COMMAND auths = {.count = exchange->count};
        uint8_t parameters[SESSION_DIGEST_SIZE];

        TSS2_RC rc = digest_command(exchange, parameters);
        if (rc != TSS2_RC_SUCCESS)
                return rc;

        for (size_t i = 0; i < exchange->count; i++) {
                const struct session_user *user = &exchange->users[i];
                TPMS_AUTH_COMMAND *auth = &auths.auths[i];

                auth->sessionHandle = user->session->handle;
                auth->sessionAttributes = user->attributes;
                auth->nonce.size = auth->hmac.size = SESSION_DIGEST_SIZE;
                memcpy(auth->nonce.buffer, user->nonce_caller, SESSION_DIGEST_SIZE);
                if (authenticate(user, parameters, nonces_of_command(user), user->attributes,
                                 auth->hmac.buffer) < 0)
                        return TSS2_ESYS_RC_MEMORY;
        }
        return Tss2_Sys_SetCmdAuths(exchange->sys, &auths);
}

/* Part 1, section 18.8: rpHash.  The response code is that of success, or there would be no HMAC. */
static TSS2_RC digest_answer(const struct session_exchange *exchange, struct wla_bytes answer,
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
static TSS2_RC check_answer(struct session_user *user, const TPMS_AUTH_RESPONSE *auth,
                            const uint8_t parameters[SESSION_DIGEST_SIZE]) {
        uint8_t expected[SESSION_DIGEST_SIZE];

        if (auth->nonce.size != SESSION_DIGEST_SIZE)
                return TSS2_ESYS_RC_MALFORMED_RESPONSE;
        if (authenticate(user, parameters, nonces_of_answer(user, auth->nonce.buffer),
                         auth->sessionAttributes, expected) < 0)
                return TSS2_ESYS_RC_MEMORY;
        if (auth->sessionAttributes != user->attributes || auth->hmac.size != SESSION_DIGEST_SIZE ||
            CRYPTO_memcmp(auth->hmac.buffer, expected, SESSION_DIGEST_SIZE) != 0)
                return TSS2_ESYS_RC_RSP_AUTH_FAILED;

        memcpy(user->session->nonce_tpm, auth->nonce.buffer, SESSION_DIGEST_SIZE);
        memcpy(user->nonce_tpm, auth->nonce.buffer, SESSION_DIGEST_SIZE);
        return TSS2_RC_SUCCESS;
}

/* GetRspAuths() goes first: it has looked whether the parameters end within the answer.  Behind a command that has
 * succeeded it finds itself out of sequence when somebody has cut the sessions off the answer. */
static TSS2_RC examine(struct session_exchange *exchange) {
        TSS2L_SYS_AUTH_RESPONSE auths = {0};
        uint8_t parameters[SESSION_DIGEST_SIZE];

        TSS2_RC rc = Tss2_Sys_GetRspAuths(exchange->sys, &auths);
        if (rc == TSS2_SYS_RC_BAD_SEQUENCE)
                return TSS2_ESYS_RC_RSP_AUTH_FAILED;
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_GetRpBuffer(exchange->sys, &exchange->answer.size,
                                          &exchange->answer.data);
        if (rc == TSS2_RC_SUCCESS && auths.count != exchange->count)
                rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
        if (rc == TSS2_RC_SUCCESS)
                rc = digest_answer(exchange, exchange->answer, parameters);
        for (size_t i = 0; i < exchange->count && rc == TSS2_RC_SUCCESS; i++)
                rc = check_answer(&exchange->users[i], &auths.auths[i], parameters);
        return rc;
}

static TSS2_RC check_auth(const struct session_use *use) {
        return use->auth && wla_secret_view(use->auth).size > AUTH_VALUE_MAX ? TSS2_ESYS_RC_BAD_SIZE
                                                                             : TSS2_RC_SUCCESS;
}

static void add_user(struct session_exchange *exchange, const struct session_use *use,
                     TPMA_SESSION attributes) {
        struct session_user *user = &exchange->users[exchange->count++];

        user->session = use->session;
        user->key_name = *use->key_name;
        user->auth = use->auth;
        user->attributes = TPMA_SESSION_CONTINUESESSION | attributes;
}

TSS2_RC session_exchange_init(struct session_exchange *exchange, TSS2_SYS_CONTEXT *sys,
                              const struct session_command *command, bool secret) {
        TSS2_RC rc = check_auth(&command->use);

        *exchange = (struct session_exchange){
                .sys = sys,
                .encrypt = command->encrypt,
        };
        add_user(exchange, &command->use,
                 (command->encrypt ? TPMA_SESSION_DECRYPT : 0) |
                         (secret ? TPMA_SESSION_ENCRYPT : 0));
        if (command->second) {
                add_user(exchange, command->second, 0);
                if (rc == TSS2_RC_SUCCESS)
                        rc = check_auth(command->second);
        }
        for (size_t i = 0; i < exchange->count && rc == TSS2_RC_SUCCESS; i++)
                if (RAND_bytes(exchange->users[i].nonce_caller, SESSION_DIGEST_SIZE) != 1)
                        rc = TSS2_ESYS_RC_MEMORY;
        return rc;
}

TSS2_RC session_exchange_send(struct session_exchange *exchange) {
        TSS2_RC rc = exchange->encrypt ? encrypt_parameter(exchange) : TSS2_RC_SUCCESS;

        if (rc == TSS2_RC_SUCCESS)
                rc = authorise(exchange);
        if (rc == TSS2_RC_SUCCESS)
                rc = Tss2_Sys_ExecuteAsync(exchange->sys);
        return rc;
}

TSS2_RC session_exchange_receive(struct session_exchange *exchange) {
        TSS2_RC rc = Tss2_Sys_ExecuteFinish(exchange->sys, TSS2_TCTI_TIMEOUT_BLOCK);

        return rc == TSS2_RC_SUCCESS ? examine(exchange) : rc;
}

TSS2_RC session_exchange_open(const struct session_exchange *exchange, struct wla_secret *into) {
        const struct session_user *user = &exchange->users[0];
        struct wla_bytes answer = exchange->answer;

        if (answer.size < 2 || answer.size - 2 > wla_secret_view(into).size ||
            answer.size - 2 != (size_t)(answer.data[0] << 8 | answer.data[1]))
                return TSS2_ESYS_RC_MALFORMED_RESPONSE;

        const struct wla_bytes encrypted = {.data = answer.data + 2, .size = answer.size - 2};
        wla_secret_truncate(into, encrypted.size);
        return cipher(user, nonces_of_answer(user, user->nonce_tpm), false, encrypted,
                      wla_secret_fill(into)) == 0
                       ? TSS2_RC_SUCCESS
                       : TSS2_ESYS_RC_MEMORY;
}

/* Somebody may have made up the error, whose answer bears no HMAC, for a command that the TPM has taken: its nonce is
 * another one by now, and it would count the next command as a wrong authorisation.  A broken connection flushes nothing. */
void session_exchange_give_up(struct tpm *tpm, const struct session_exchange *exchange,
                              TSS2_RC rc) {
        bool broken = (rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER;

        for (size_t i = 0; i < exchange->count; i++)
                if (broken)
                        session_forget(exchange->users[i].session);
                else
                        session_end(tpm, exchange->users[i].session);
        tpm->left_behind |= broken;
}

TSS2_RC session_execute(struct tpm *tpm, const struct session_command *command,
                        struct wla_secret *into) {
        struct session_exchange exchange;

        TSS2_RC rc = session_exchange_init(&exchange, session_sys(tpm), command, into != NULL);
        if (rc == TSS2_RC_SUCCESS)
                rc = session_exchange_send(&exchange);
        if (rc == TSS2_RC_SUCCESS)
                rc = session_exchange_receive(&exchange);
        if (rc == TSS2_RC_SUCCESS && into)
                rc = session_exchange_open(&exchange, into);
        if (rc != TSS2_RC_SUCCESS)
                session_exchange_give_up(tpm, &exchange, rc);
        return rc;
}
