/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One command in a session (session.h) and its answer, in its steps: what session_execute() does in one, for who has something
 * to do while the TPM works, or a command that is to follow at once.
 *
 * They go init, send, receive, open.  Between send and receive no other command may be sent.  Behind receive the session
 * is in step again and may be used for another exchange, also before this one's open.
 *
 * Ownership: an exchange holds no secret.  What it points to is to outlive it: sessions, secrets of keys, sys.
 * Threads:   as struct tpm.
 * Failure:   as session_execute(), but that the sessions do not end by themselves: session_exchange_give_up() ends them,
 *            while no command is under way.  What it cannot flush goes with the connection, at the next tpm_connect().
 */

#include "tpm/session.h"

#define SESSION_USERS_MAX 2u

struct session_user {
        struct session *session;
        TPM2B_NAME key_name;
        const struct wla_secret *auth;
        TPMA_SESSION attributes;
        uint8_t nonce_caller[SESSION_DIGEST_SIZE];
        uint8_t nonce_tpm[SESSION_DIGEST_SIZE]; /* of the answer */
};

struct session_exchange {
        TSS2_SYS_CONTEXT *sys;
        struct session_user
                users[SESSION_USERS_MAX]; /* what is encrypted is with the first one's key */
        uint16_t count;
        bool encrypt;            /* the first parameter of the command */
        struct wla_bytes answer; /* its parameters, within sys */
};

/* The command was prepared in sys.  secret: so is the answer, which the TPM encrypts. */
TSS2_RC session_exchange_init(struct session_exchange *exchange, TSS2_SYS_CONTEXT *sys,
                              const struct session_command *command, bool secret) _must_check_;

TSS2_RC session_exchange_send(struct session_exchange *exchange) _must_check_;

/* Waits for the answer, and checks it. */
TSS2_RC session_exchange_receive(struct session_exchange *exchange) _must_check_;

/* Of a secret answer. */
TSS2_RC session_exchange_open(const struct session_exchange *exchange,
                              struct wla_secret *into) _must_check_;

/* When one of these has failed with rc. */
void session_exchange_give_up(struct tpm *tpm, const struct session_exchange *exchange, TSS2_RC rc);
