/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which certificates of brokers are trusted.
 *
 * Ownership: the store is the caller's; OpenSSL counts its users.
 * Threads:   a store is read by any thread once it is made.
 */

#include <openssl/ssl.h>

#include "http/http.h"

/* The system's roots, and every certificate of every file of the directory. */
int trust_store_load(const char *directory, X509_STORE **ret, struct wla_error *err) _must_check_;

/* What a handshake is judged by. */
struct trust {
        X509_STORE *store;
        const uint8_t *pin; /* HTTP_PIN_SIZE bytes, or NULL */
        int refusal;        /* X509_V_ERR_*, once a handshake has failed by it */
        /* SHA-384 of the certificate that was presented instead of the one with the pin. */
        uint8_t presented[HTTP_PIN_SIZE];
};

/* What is to be done about a refusal, an X509_V_ERR_*: a literal. */
const char *trust_hint(int refusal);

/* Has handshakes of context judged by trust, which outlives them. */
void trust_apply(struct trust *trust, SSL_CTX *context);
