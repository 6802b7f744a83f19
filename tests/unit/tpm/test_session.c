/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/rsa_wrap.h"
#include "suite.h"
#include "tpm/auth_value.h"
#include "tpm/context.h"
#include "tpm/templates.h"

/* A TPM that knows the key of the session and yet answers what none does: what swtpm and the fault proxy, without
 * that key, cannot.  That an honest TPM and this code agree, tests/integration/tpm shows. */

#define MESSAGE "the opened key"
#define NONCE_AT \
        24u /* of the caller, in a command: behind header, key, size of the area, session, size */
#define ANSWER_SIZE 1024u

struct lie {
        TPM2_RC code;          /* of an answer that is nothing else */
        uint16_t tag;          /* 0: that of an answer with sessions */
        bool no_session;       /* the answer, cut off behind the message */
        bool breaks;           /* the connection */
        int parameters_longer; /* than it says in front of them */
        int message_longer;    /* the same of the message in them */
        size_t message_size;   /* 0: that of MESSAGE */
        unsigned nonce_shorter;
        unsigned hmac_shorter;
        bool other_attributes;  /* than the HMAC covers */
        bool agreed_attributes; /* it covers them, and they are not those of the command */
        bool other_hmac;
        bool other_message; /* than the HMAC covers */
        bool replayed;      /* the HMAC is for another command's nonce */
        bool other_code;    /* the HMAC is for another command */
};

struct liar {
        TSS2_TCTI_CONTEXT_COMMON_V2 common;
        const struct lie *lie;
        struct session *session;
        struct wla_bytes key;
        uint8_t answer[ANSWER_SIZE];
        size_t size;
        unsigned flushed;
};

static void put(struct liar *liar, const void *data, size_t size) {
        ck_assert_uint_le(liar->size + size, sizeof(liar->answer));
        memcpy(liar->answer + liar->size, data, size);
        liar->size += size;
}

static void put_be(struct liar *liar, uint64_t value, unsigned bytes) {
        while (bytes-- > 0) {
                uint8_t byte = (uint8_t)(value >> 8 * bytes);

                put(liar, &byte, 1);
        }
}

static TPMA_SESSION answered_attributes(const struct lie *lie) {
        return TPMA_SESSION_CONTINUESESSION | (lie->agreed_attributes ? 0 : TPMA_SESSION_ENCRYPT);
}

static void compute_hmac(const struct liar *liar, const uint8_t *command, const uint8_t *parameters,
                         size_t size, const uint8_t *nonce, uint8_t *ret) {
        static const uint8_t other_nonce[SESSION_DIGEST_SIZE];
        const struct session_nonces nonces = {
                .newer = nonce,
                .older = liar->lie->replayed ? other_nonce : command + NONCE_AT,
        };
        uint8_t text[8 + ANSWER_SIZE] = {0};
        uint8_t digest[SESSION_DIGEST_SIZE];

        memcpy(text + 4, command + 6, 4);
        text[7] ^= liar->lie->other_code;
        memcpy(text + 8, parameters, size);
        ck_assert_int_eq(EVP_Digest(text, 8 + size, digest, NULL, EVP_sha256(), NULL), 1);
        ck_assert_int_eq(session_authenticate(liar->key, digest, nonces,
                                              answered_attributes(liar->lie), ret),
                         0);
        ret[0] ^= liar->lie->other_hmac;
}

static void answer(struct liar *liar, const uint8_t *command) {
        const struct lie *lie = liar->lie;
        uint8_t nonce[SESSION_DIGEST_SIZE];
        uint8_t hmac[SESSION_DIGEST_SIZE];
        uint8_t message[ANSWER_SIZE / 2] = MESSAGE;
        size_t size = lie->message_size ? lie->message_size : strlen(MESSAGE);

        memset(nonce, 0x77, sizeof(nonce));
        const struct session_nonces nonces = {.newer = nonce, .older = command + NONCE_AT};
        ck_assert_int_eq(session_cipher_parameter(liar->key, nonces, true,
                                                  (struct wla_bytes){.data = message, .size = size},
                                                  message),
                         0);

        put_be(liar, lie->tag ? lie->tag : TPM2_ST_SESSIONS, 2);
        put_be(liar, 0, 8); /* the size is put in at last, and it has succeeded */
        if (lie->no_session) {
                put_be(liar, size, 2);
                put(liar, message, size);
                return;
        }
        put_be(liar, (uint64_t)((int)size + 2 - lie->parameters_longer), 4);
        size_t at = liar->size;
        put_be(liar, (uint64_t)((int)size - lie->message_longer), 2);
        put(liar, message, size);
        compute_hmac(liar, command, liar->answer + at, liar->size - at, nonce, hmac);
        liar->answer[at + 2] ^= lie->other_message;
        put_be(liar, sizeof(nonce) - lie->nonce_shorter, 2);
        put(liar, nonce, sizeof(nonce) - lie->nonce_shorter);
        put_be(liar, answered_attributes(lie) ^ (lie->other_attributes ? TPMA_SESSION_ENCRYPT : 0),
               1);
        put_be(liar, sizeof(hmac) - lie->hmac_shorter, 2);
        put(liar, hmac, sizeof(hmac) - lie->hmac_shorter);
}

static void answer_code(struct liar *liar, TPM2_RC code) {
        put_be(liar, TPM2_ST_NO_SESSIONS, 2);
        put_be(liar, 0, 4);
        put_be(liar, code, 4);
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command) {
        struct liar *liar = (struct liar *)(void *)context;

        liar->size = 0;
        if (size <= NONCE_AT + SESSION_DIGEST_SIZE || command[9] != (TPM2_CC_RSA_Decrypt & 0xff)) {
                liar->flushed += command[9] == (TPM2_CC_FlushContext & 0xff);
                answer_code(liar, TPM2_RC_SUCCESS);
        } else if (liar->lie->code != TPM2_RC_SUCCESS) {
                answer_code(liar, liar->lie->code);
        } else {
                answer(liar, command);
        }
        liar->answer[4] = (uint8_t)(liar->size >> 8);
        liar->answer[5] = (uint8_t)liar->size;
        return liar->lie->breaks ? TSS2_TCTI_RC_IO_ERROR : TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response,
                       int32_t timeout) {
        const struct liar *liar = (const struct liar *)(const void *)context;

        (void)timeout;
        *size = liar->size;
        if (response)
                memcpy(response, liar->answer, liar->size);
        return TSS2_RC_SUCCESS;
}

static TSS2_RC ask(struct tpm *tpm, const struct wla_secret *auth, struct wla_secret *into) {
        static const TPM2B_NAME name = {.size = 34};
        const struct session_command command = {
                .use = {.session = &tpm->session, .key_name = &name, .auth = auth},
        };
        TPM2B_PUBLIC_KEY_RSA wrapped = {.size = RSA_WRAPPED_SIZE};

        ck_assert_uint_eq(Tss2_Sys_RSA_Decrypt_Prepare(session_sys(tpm), 0x80000001u, &wrapped,
                                                       &unbind_scheme, &unbind_label),
                          TSS2_RC_SUCCESS);
        return session_execute(tpm, &command, into);
}

/* A session whose key is known, as if session_start() had made it. */
static void begin(struct tpm **tpm, struct liar *liar, const struct lie *lie) {
        static uint8_t key[SESSION_DIGEST_SIZE];
        struct wla_error err = {0};

        if (!CRYPTO_secure_malloc_initialized())
                ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        *liar = (struct liar){
                .common.v1 = {.version = 1, .transmit = transmit, .receive = receive},
                .lie = lie,
                .key = {.data = key, .size = sizeof(key)},
        };
        memset(key, 0x5a, sizeof(key));
        ck_assert_int_eq(tpm_new("swtpm:path=/nowhere", "/nowhere", tpm, &err), 0);
        ck_assert_uint_eq(Esys_Initialize(&(*tpm)->esys, (TSS2_TCTI_CONTEXT *)(void *)liar, NULL),
                          TSS2_RC_SUCCESS);
        struct session *session = &(*tpm)->session;
        session->handle = TPM2_HMAC_SESSION_FIRST;
        ck_assert_int_eq(wla_secret_new(sizeof(key) + AUTH_VALUE_MAX, &session->key, &err), 0);
        memcpy(wla_secret_fill(session->key), key, sizeof(key));
}

START_TEST(an_answer_is_decrypted) {
        static const struct lie none;
        struct tpm *tpm = NULL;
        struct liar liar;
        struct wla_secret *into = NULL;
        struct wla_error err = {0};

        begin(&tpm, &liar, &none);
        ck_assert_int_eq(wla_secret_new(RSA_WRAP_PLAIN_MAX, &into, &err), 0);
        ck_assert_uint_eq(ask(tpm, NULL, into), TSS2_RC_SUCCESS);
        ck_assert_uint_eq(wla_secret_view(into).size, strlen(MESSAGE));
        ck_assert_mem_eq(wla_secret_view(into).data, MESSAGE, strlen(MESSAGE));
        into = wla_secret_free(into);
        tpm = tpm_free(tpm);
}
END_TEST

static void has_ended(const struct tpm *tpm, const struct liar *liar, unsigned flushed) {
        ck_assert_uint_eq(tpm->session.handle, 0);
        ck_assert_ptr_null(tpm->session.key);
        ck_assert_uint_eq(liar->flushed, flushed);
}

START_TEST(no_lie_is_believed) {
        static const struct {
                struct lie lie;
                TSS2_RC rc;
        } cases[] = {
                {{.tag = TPM2_ST_NO_SESSIONS}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.tag = TPM2_ST_NO_SESSIONS, .no_session = true}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.agreed_attributes = true}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.other_hmac = true}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.hmac_shorter = 1}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.hmac_shorter = SESSION_DIGEST_SIZE}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.other_attributes = true}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.other_message = true}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.replayed = true}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.other_code = true}, TSS2_ESYS_RC_RSP_AUTH_FAILED},
                {{.nonce_shorter = 16}, TSS2_ESYS_RC_MALFORMED_RESPONSE},
                {{.nonce_shorter = SESSION_DIGEST_SIZE}, TSS2_ESYS_RC_MALFORMED_RESPONSE},
                {{.message_longer = 1}, TSS2_ESYS_RC_MALFORMED_RESPONSE},
                {{.message_longer = -1}, TSS2_ESYS_RC_MALFORMED_RESPONSE},
                {{.message_size = RSA_WRAP_PLAIN_MAX + 1}, TSS2_ESYS_RC_MALFORMED_RESPONSE},
                {{.parameters_longer = -1000000}, TSS2_SYS_RC_MALFORMED_RESPONSE},
        };
        uint8_t nothing[RSA_WRAP_PLAIN_MAX] = {0};
        struct wla_error err = {0};

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct tpm *tpm = NULL;
                struct liar liar;
                struct wla_secret *into = NULL;

                begin(&tpm, &liar, &cases[i].lie);
                ck_assert_int_eq(wla_secret_new(RSA_WRAP_PLAIN_MAX, &into, &err), 0);
                TSS2_RC rc = ask(tpm, NULL, into);
                ck_assert_msg(rc == cases[i].rc, "lie %zu: 0x%x", i, rc);
                ck_assert_uint_eq(wla_secret_view(into).size, RSA_WRAP_PLAIN_MAX);
                ck_assert_mem_eq(wla_secret_view(into).data, nothing, sizeof(nothing));
                has_ended(tpm, &liar, 1);
                into = wla_secret_free(into);
                tpm = tpm_free(tpm);
        }
}
END_TEST

/* An error bears no HMAC: whether the TPM sent it, and what it has done before, nobody knows. */
START_TEST(an_error_ends_the_session) {
        static const struct {
                struct lie lie;
                TSS2_RC rc;
                unsigned flushed;
        } cases[] = {
                {{.code = TPM2_RC_RETRY}, TPM2_RC_RETRY, 1},
                {{.code = TPM2_RC_LOCKOUT}, TPM2_RC_LOCKOUT, 1},
                {{.code = TPM2_RC_POLICY_FAIL | TPM2_RC_S | TPM2_RC_1},
                 TPM2_RC_POLICY_FAIL | TPM2_RC_S | TPM2_RC_1,
                 1},
                {{.code = TPM2_RC_VALUE | TPM2_RC_P | TPM2_RC_1},
                 TPM2_RC_VALUE | TPM2_RC_P | TPM2_RC_1,
                 1},
                {{.breaks = true}, TSS2_TCTI_RC_IO_ERROR, 0},
        };
        struct wla_error err = {0};

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct tpm *tpm = NULL;
                struct liar liar;
                struct wla_secret *into = NULL;

                begin(&tpm, &liar, &cases[i].lie);
                ck_assert_int_eq(wla_secret_new(RSA_WRAP_PLAIN_MAX, &into, &err), 0);
                ck_assert_uint_eq(ask(tpm, NULL, into), cases[i].rc);
                has_ended(tpm, &liar, cases[i].flushed);
                into = wla_secret_free(into);
                tpm = tpm_free(tpm);
        }
}
END_TEST

START_TEST(a_secret_does_not_stay_behind_the_key) {
        static const struct lie none;
        uint8_t key_and_auth[SESSION_DIGEST_SIZE + AUTH_VALUE_MAX];
        struct tpm *tpm = NULL;
        struct liar liar;
        struct wla_secret *into = NULL;
        struct wla_secret *auth = NULL;
        struct wla_error err = {0};
        uint8_t nothing[AUTH_VALUE_MAX] = {0};

        begin(&tpm, &liar, &none);
        memcpy(key_and_auth, liar.key.data, SESSION_DIGEST_SIZE);
        memset(key_and_auth + SESSION_DIGEST_SIZE, 'x', AUTH_VALUE_MAX);
        liar.key = (struct wla_bytes){.data = key_and_auth, .size = sizeof(key_and_auth)};
        ck_assert_int_eq(wla_secret_new(RSA_WRAP_PLAIN_MAX, &into, &err), 0);
        ck_assert_int_eq(wla_secret_new(AUTH_VALUE_MAX, &auth, &err), 0);
        memset(wla_secret_fill(auth), 'x', AUTH_VALUE_MAX);

        ck_assert_uint_eq(ask(tpm, auth, into), TSS2_RC_SUCCESS);
        ck_assert_mem_eq(wla_secret_view(tpm->session.key).data + SESSION_DIGEST_SIZE, nothing,
                         sizeof(nothing));
        auth = wla_secret_free(auth);
        ck_assert_int_eq(wla_secret_new(AUTH_VALUE_MAX + 1, &auth, &err), 0);
        ck_assert_uint_eq(ask(tpm, auth, into), TSS2_ESYS_RC_BAD_SIZE);
        has_ended(tpm, &liar, 1);
        auth = wla_secret_free(auth);
        into = wla_secret_free(into);
        tpm = tpm_free(tpm);
}
END_TEST

/* A TPM that does not know of the secret, or of another one. */
START_TEST(an_answer_of_who_does_not_know_the_secret_is_refused) {
        static const struct lie none;
        struct tpm *tpm = NULL;
        struct liar liar;
        struct wla_secret *into = NULL;
        struct wla_secret *auth = NULL;
        struct wla_error err = {0};

        begin(&tpm, &liar, &none);
        ck_assert_int_eq(wla_secret_new(RSA_WRAP_PLAIN_MAX, &into, &err), 0);
        ck_assert_int_eq(wla_secret_new(AUTH_VALUE_MAX, &auth, &err), 0);
        memset(wla_secret_fill(auth), 'x', AUTH_VALUE_MAX);
        ck_assert_uint_eq(ask(tpm, auth, into), TSS2_ESYS_RC_RSP_AUTH_FAILED);
        auth = wla_secret_free(auth);
        into = wla_secret_free(into);
        tpm = tpm_free(tpm);
}
END_TEST

SUITE_MAIN("session", an_answer_is_decrypted, no_lie_is_believed, an_error_ends_the_session,
           a_secret_does_not_stay_behind_the_key,
           an_answer_of_who_does_not_know_the_secret_is_refused)
