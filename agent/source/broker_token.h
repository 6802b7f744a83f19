/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A user's token from Intel SecL's AAS: fetched once, shared, renewed ahead of its expiry, and used until then
 * while AAS gives no other.
 *
 * A token is opaque to WLS's clients, but for the expiry in it (RFC 7519 section 4.1.4), which is believed
 * only to renew earlier, and to use it no longer.  AAS bans a user after five wrong passwords in five
 * minutes, so that one refused login ends all attempts until the time below has passed; nothing here is
 * tried in a loop.
 *
 * Ownership: the password is copied.  It and the token are in locked memory; what libcurl makes of them for
 *            a request is not (http/http.h).
 * Threads:   broker_token_get() from any worker; one of them asks AAS, the others wait for it.
 * Failure:   WLA_E_DENIED for a refused login or a ban, _UNAVAILABLE, _TIMEOUT, _INPUT.
 */

#include "base/secret.h"
#include "source/broker_gate.h"

#define BROKER_TOKEN_MAX          8192u
#define BROKER_LOGIN_REFUSED_USEC (10 * 60 * USEC_PER_SEC)
#define BROKER_BAN_USEC           (15 * 60 * USEC_PER_SEC) /* AAS's default */

struct broker_token;

/* What refusals say to whoever has to do something about them; literals. */
struct broker_login_words {
        const char *user;       /* "the agent's user" */
        const char *refused;    /* hint: AAS does not accept user or password */
        const char *banned;     /* hint: it has banned the user */
        const char *wrong_url;  /* hint: it answers as no AAS does */
        const char *same_token; /* hint: its tokens are refused elsewhere */
};

/* What is borrowed outlives it.  url: AAS's base URL, without '/' at its end. */
int broker_token_new(struct http_client *http, const char *url, const char *user,
                     const struct wla_secret *password, struct broker_token **ret,
                     struct wla_error *err) _must_check_;
struct broker_token *broker_token_free(struct broker_token *token);

/* Other words than those for wlagentd's operator; before the first broker_token_get(). */
void broker_token_set_words(struct broker_token *token, const struct broker_login_words *words);

/* Fails at once while AAS is out of reach, and does not wait for its return; before the first
 * broker_token_get(). */
void broker_token_do_not_wait(struct broker_token *token);

/* Gives the header line of a request that has the token, terminated, for struct http_request.  refused: the
 * line that a service has just answered with 401, which is not given again; NULL: none. */
int broker_token_get(struct broker_token *token, const struct wla_secret *refused,
                     const struct deadline *deadline, struct wla_secret **ret,
                     struct wla_error *err) _must_check_;

/* What keeps a token from being fetched, as broker_gate_closed(). */
bool broker_token_obstacle(struct broker_token *token, struct wla_error *err);

/* When the token that is there will be renewed, in seconds since 1970; 0: there is none that is used.  Waits
 * for nobody. */
uint64_t broker_token_until_sec(struct broker_token *token);
