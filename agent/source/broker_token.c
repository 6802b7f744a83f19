/* SPDX-License-Identifier: Apache-2.0 */
#include "source/broker_token.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loop/condition.h"
#include "source/token_expiry.h"

#define LOGIN_FRAME  64u                 /* more than the names, quotes and braces of a login */
#define AHEAD_USEC   (60 * USEC_PER_SEC) /* renewed so long before its expiry */
#define TRIES_MAX    2
#define RENEWAL_USEC (2 * USEC_PER_SEC)      /* may take no longer while the old one is good */
#define LIFE_USEC    (5 * 60 * USEC_PER_SEC) /* of a token that does not tell its own */

static const char hint_request[] =
        "something on the way has changed the request, or this AAS is none of versions 3.0 to 5.1: "
        "see its log";

static const char line_start[] = "Authorization: Bearer ";

static const struct broker_login_words agent_words = {
        .user = "the agent's user",
        .refused = "set ServiceUser= and the credential aas-password right and restart "
                   "wlagentd; it does not try again for 10 minutes, for AAS bans users",
        .banned = "AAS lifts a ban after 15 minutes; correct the password "
                  "before, or the next login prolongs it",
        .wrong_url = "TokenURL= must be the base URL of AAS, such as "
                     "https://aas.example:8444/aas/v1",
        .same_token = "WLS has to trust the signing certificate of AAS, and the clocks "
                      "of both and of this host have to agree",
};

struct broker_token {
        struct broker_gate *gate;
        char *url;
        char *user;
        struct wla_secret *password;
        const struct broker_login_words *words;
        bool impatient;

        pthread_mutex_t lock;
        pthread_cond_t change;
        bool asking;             /* one of the callers asks AAS */
        struct wla_secret *line; /* of a header, with the token, terminated; NULL: none */
        uint64_t renew_usec;     /* CLOCK_MONOTONIC, as the next two */
        uint64_t end_usec;
        uint64_t stopped_usec; /* no login before */
        bool banned;
};

static int fail_login(const struct broker_login_words *words, bool banned, struct wla_error *err) {
        if (banned)
                return wla_fail_hint(err, WLA_E_DENIED, words->banned, "AAS has banned %s",
                                     words->user);
        return wla_fail_hint(err, WLA_E_DENIED, words->refused,
                             "AAS does not accept %s or password", words->user);
}

/* With the lock held, as all below that take a token. */
static bool is_good(const struct broker_token *token, const struct wla_secret *refused) {
        return token->line && clock_now_usec() < token->end_usec &&
               (!refused || strcmp((const char *)wla_secret_view(token->line).data,
                                   (const char *)wla_secret_view(refused).data) != 0);
}

static bool is_usable(const struct broker_token *token, const struct wla_secret *refused) {
        return is_good(token, refused) && clock_now_usec() < token->renew_usec;
}

static size_t append(uint8_t *to, size_t at, const char *text) {
        memcpy(to + at, text, strlen(text));
        return at + strlen(text);
}

/* A JSON string (RFC 8259 section 7), in at most 6 bytes for each, and its quotes. */
static size_t append_string(uint8_t *to, size_t at, const uint8_t *text, size_t size) {
        static const char digits[] = "0123456789abcdef";

        to[at++] = '"';
        for (size_t i = 0; i < size; i++) {
                if (text[i] < 0x20) {
                        at = append(to, at, "\\u00");
                        to[at++] = (uint8_t)digits[text[i] >> 4];
                        to[at++] = (uint8_t)digits[text[i] & 15];
                        continue;
                }
                if (text[i] == '"' || text[i] == '\\')
                        to[at++] = '\\';
                to[at++] = text[i];
        }
        to[at++] = '"';
        return at;
}

static int write_login(const struct broker_token *token, struct wla_secret **ret,
                       struct wla_error *err) {
        const struct wla_bytes password = wla_secret_view(token->password);
        size_t user_size = strlen(token->user);

        if (wla_secret_new(LOGIN_FRAME + 6 * (user_size + password.size), ret, err) < 0)
                return -1;

        uint8_t *login = wla_secret_fill(*ret);
        size_t at = append(login, 0, "{\"username\":");
        at = append_string(login, at, (const uint8_t *)token->user, user_size);
        at = append(login, at, ",\"password\":");
        at = append_string(login, at, password.data, password.size);
        at = append(login, at, "}");
        wla_secret_truncate(*ret, at);
        return 0;
}

/* base64url and dots (RFC 7515 section 7.1). */
static bool is_token(const struct buf *text) {
        if (text->size == 0 || text->size > BROKER_TOKEN_MAX)
                return false;
        for (size_t i = 0; i < text->size; i++)
                if (!memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.",
                            text->data[i], 65))
                        return false;
        return true;
}

static int read_login(const struct http_answer *answer, const struct broker_login_words *words,
                      struct wla_error *err) {
        if (answer->status == 401 || answer->status == 429)
                return fail_login(words, answer->status == 429, err);
        if (answer->status == 400 || answer->status == 415)
                return wla_fail_hint(err, WLA_E_INPUT, hint_request,
                                     "AAS does not take the login (status %u)", answer->status);
        if (answer->status >= 500)
                return wla_fail_hint(err, WLA_E_UNAVAILABLE, "see the log of AAS",
                                     "AAS answered with status %u", answer->status);
        if (answer->status != 200)
                return wla_fail_hint(err, WLA_E_INPUT, words->wrong_url,
                                     "AAS answered with status %u", answer->status);
        if (!is_token(&answer->body))
                return wla_fail_hint(err, WLA_E_INPUT, words->wrong_url,
                                     "what AAS answered is no token");
        return 0;
}

static int ask_aas(const struct broker_token *token, bool early, const struct deadline *deadline,
                   struct http_answer *ret, struct wla_error *err) {
        static const char *const headers[] = {
                "Accept: application/jwt",
                "Content-Type: application/json",
                NULL,
        };
        _cleanup_secret_ struct wla_secret *login = NULL;

        if (write_login(token, &login, err) < 0)
                return -1;

        const struct http_request request = {
                .method = "POST",
                .url = token->url,
                .headers = headers,
                .body = wla_secret_view(login),
                .answer_max = BROKER_TOKEN_MAX,
                .deadline = deadline,
                .longest_usec = early ? RENEWAL_USEC : 0,
        };
        return broker_gate_ask(token->gate, &request, ret, err);
}

/* Once more when AAS was out of reach, and has come back.  early: the old token still does. */
static int log_in(const struct broker_token *token, bool early, const struct deadline *deadline,
                  struct http_answer *ret, struct wla_error *err) {
        bool once = token->impatient || early;

        for (int tries = 1;; tries++) {
                if (!once && broker_gate_pass(token->gate, deadline, err) < 0)
                        return -1;
                if (ask_aas(token, early, deadline, ret, err) == 0)
                        return read_login(ret, token->words, err);
                http_answer_clear(ret);
                *ret = (struct http_answer){0};
                if (err->code != WLA_E_UNAVAILABLE || tries == TRIES_MAX || once)
                        return -1;
        }
}

static int keep(struct broker_token *token, const struct http_answer *answer,
                struct wla_error *err) {
        const struct buf *text = &answer->body;
        size_t start = sizeof(line_start) - 1;
        uint64_t life_usec = token_life_usec((const char *)text->data, text->size);
        struct wla_secret *line;

        if (wla_secret_new(start + text->size + 1, &line, err) < 0)
                return -1;
        memcpy(wla_secret_fill(line), line_start, start);
        memcpy(wla_secret_fill(line) + start, text->data, text->size);
        wla_secret_free(token->line);
        token->line = line;
        if (life_usec == 0)
                life_usec = LIFE_USEC;
        token->end_usec = clock_now_usec() + life_usec;
        token->renew_usec = clock_now_usec() +
                            (life_usec > 2 * AHEAD_USEC ? life_usec - AHEAD_USEC : life_usec / 2);
        return 0;
}

static void stop(struct broker_token *token, unsigned status) {
        token->banned = status == 429;
        token->stopped_usec = clock_now_usec() +
                              (token->banned ? BROKER_BAN_USEC : BROKER_LOGIN_REFUSED_USEC);
}

/* Without the lock while AAS is asked. */
static int renew(struct broker_token *token, bool early, const struct deadline *deadline,
                 struct wla_error *err) {
        _cleanup_answer_ struct http_answer answer = {0};

        token->asking = true;
        (void)pthread_mutex_unlock(&token->lock);
        int outcome = log_in(token, early, deadline, &answer, err);
        (void)pthread_mutex_lock(&token->lock);
        token->asking = false;

        if (outcome == 0)
                outcome = keep(token, &answer, err);
        else if (answer.status == 401 || answer.status == 429)
                stop(token, answer.status);
        (void)pthread_cond_broadcast(&token->change);
        return outcome;
}

/* Ahead of the end of the old token; without an answer that one is used on. */
static int renew_early(struct broker_token *token, const struct deadline *deadline,
                       struct wla_error *err) {
        struct wla_error own = {0};

        if (token->asking || broker_gate_closed(token->gate, &own) ||
            renew(token, /* early= */ true, deadline, &own) == 0 || own.code == WLA_E_UNAVAILABLE ||
            own.code == WLA_E_TIMEOUT)
                return 0;
        *err = own;
        return -1;
}

static int make_usable(struct broker_token *token, const struct wla_secret *refused,
                       const struct deadline *deadline, struct wla_error *err) {
        bool renewed = false;

        while (!is_usable(token, refused)) {
                if (clock_now_usec() < token->stopped_usec)
                        return fail_login(token->words, token->banned, err);
                if (is_good(token, refused))
                        return renew_early(token, deadline, err);
                if (renewed)
                        return wla_fail_hint(err, WLA_E_DENIED, token->words->same_token,
                                             "AAS gives a token that is expired or refused "
                                             "already");
                if (deadline_left_usec(deadline) == 0 && broker_gate_closed(token->gate, err))
                        return -1;
                if (deadline_left_usec(deadline) == 0)
                        return wla_fail(err, WLA_E_TIMEOUT, "no token from AAS in time");
                if (token->asking)
                        condition_wait(&token->change, &token->lock, deadline);
                else if (renew(token, /* early= */ false, deadline, err) < 0)
                        return -1;
                else
                        renewed = true;
        }
        return 0;
}

int broker_token_get(struct broker_token *token, const struct wla_secret *refused,
                     const struct deadline *deadline, struct wla_secret **ret,
                     struct wla_error *err) {
        (void)pthread_mutex_lock(&token->lock);
        int outcome = make_usable(token, refused, deadline, err);
        if (outcome == 0)
                outcome = wla_secret_copy(token->line, ret, err);
        (void)pthread_mutex_unlock(&token->lock);
        return outcome;
}

bool broker_token_obstacle(struct broker_token *token, struct wla_error *err) {
        return broker_gate_closed(token->gate, err);
}

uint64_t broker_token_until_sec(struct broker_token *token) {
        uint64_t now_usec = clock_now_usec();
        uint64_t left_usec = 0;

        (void)pthread_mutex_lock(&token->lock);
        if (token->line && token->renew_usec > now_usec)
                left_usec = token->renew_usec - now_usec;
        (void)pthread_mutex_unlock(&token->lock);
        return left_usec == 0 ? 0 : (uint64_t)time(NULL) + left_usec / USEC_PER_SEC;
}

int broker_token_new(struct http_client *http, const char *url, const char *user,
                     const struct wla_secret *password, struct broker_token **ret,
                     struct wla_error *err) {
        struct broker_token *token = calloc(1, sizeof(*token));

        if (!token)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        (void)pthread_mutex_init(&token->lock, NULL);
        condition_init(&token->change);
        token->words = &agent_words;
        token->user = strdup(user);
        if (asprintf(&token->url, "%s/token", url) < 0)
                token->url = NULL;
        if (!token->user || !token->url) {
                broker_token_free(token);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        if (broker_gate_new(http, "AAS", url, &token->gate, err) < 0 ||
            wla_secret_copy(password, &token->password, err) < 0) {
                broker_token_free(token);
                return -1;
        }
        *ret = token;
        return 0;
}

struct broker_token *broker_token_free(struct broker_token *token) {
        if (!token)
                return NULL;

        broker_gate_free(token->gate);
        wla_secret_free(token->line);
        wla_secret_free(token->password);
        (void)pthread_cond_destroy(&token->change);
        (void)pthread_mutex_destroy(&token->lock);
        free(token->user);
        free(token->url);
        free(token);
        return NULL;
}

void broker_token_set_words(struct broker_token *token, const struct broker_login_words *words) {
        token->words = words;
}

void broker_token_do_not_wait(struct broker_token *token) {
        token->impatient = true;
}
