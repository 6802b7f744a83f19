/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "source/wls_answer.h"

#define ANSWER_MAX       16384u
#define REQUEST_MAX      2048u
#define TRIES_MAX        2
#define PAUSE_LEAST_USEC (200 * USEC_PER_MSEC)
#define PAUSE_MOST_USEC  (600 * USEC_PER_MSEC)

struct wls_source {
        char *url; /* of the route */
        struct uuid hardware;
        struct key_origins allowed;
        struct http_client *http;
        struct broker_token *token;
};

struct wls_call {
        const struct wls_source *source;
        const struct deadline *deadline;
        struct buf body;
        struct buf token; /* the text, terminated */
};

static int write_body(const struct wls_source *source, const struct key_link *link, struct buf *to,
                      struct wla_error *err) {
        return buf_printf(to, err, "{\"hardware_uuid\":\"%s\",\"key_url\":\"%s\"}",
                          source->hardware.text, link->url);
}

static int get_token(struct wls_call *call, const char *refused, struct wla_error *err) {
        _cleanup_buf_ struct buf fresh = BUF_WITH_LIMIT(BROKER_TOKEN_MAX + 1);

        if (broker_token_get(call->source->token, refused, call->deadline, &fresh, err) < 0 ||
            !buf_text(&fresh, err))
                return -1;
        buf_clear(&call->token);
        call->token = fresh;
        fresh = (struct buf){0};
        return 0;
}

static int post(const struct wls_call *call, struct http_answer *ret, struct wla_error *err) {
        _cleanup_buf_ struct buf authorization = BUF_WITH_LIMIT(BROKER_TOKEN_MAX + 64);

        if (buf_printf(&authorization, err, "Authorization: Bearer %s",
                       (const char *)call->token.data) < 0 ||
            !buf_text(&authorization, err))
                return -1;

        const char *const headers[] = {
                (const char *)authorization.data,
                "Accept: application/json",
                "Content-Type: application/json",
                NULL,
        };
        const struct http_request request = {
                .method = "POST",
                .url = call->source->url,
                .headers = headers,
                .body = {.data = call->body.data, .size = call->body.size},
                .answer_max = ANSWER_MAX,
                .deadline = call->deadline,
        };
        if (http_perform(call->source->http, &request, ret, err) < 0)
                return wla_wrap(err, "WLS %s", call->source->url);
        return 0;
}

static int try_once(const struct wls_call *call, uint8_t ret[RSA_WRAPPED_SIZE],
                    enum wls_next *ret_next, struct wla_error *err) {
        _cleanup_answer_ struct http_answer answer = {0};

        if (post(call, &answer, err) < 0) {
                *ret_next = err->code == WLA_E_UNAVAILABLE ? WLS_LATER : WLS_FINAL;
                return -1;
        }
        return wls_answer_read(&answer, ret, ret_next, err);
}

/* At random, so that hosts which failed together do not come back together. */
static void pause_before_retry(const struct deadline *deadline) {
        uint32_t random;
        uint64_t left_usec = deadline_left_usec(deadline);

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
                random = 0;
        uint64_t usec = PAUSE_LEAST_USEC + random % (PAUSE_MOST_USEC - PAUSE_LEAST_USEC);
        if (usec > left_usec)
                usec = left_usec;
        const struct timespec time = {
                .tv_sec = (time_t)(usec / USEC_PER_SEC),
                .tv_nsec = (long)(usec % USEC_PER_SEC * 1000),
        };
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static int ask(struct wls_call *call, uint8_t ret[RSA_WRAPPED_SIZE], struct wla_error *err) {
        enum wls_next next = WLS_FINAL;

        if (get_token(call, NULL, err) < 0)
                return -1;
        for (int tries = 1;; tries++) {
                if (try_once(call, ret, &next, err) == 0)
                        return 0;
                if (next == WLS_FINAL || tries == TRIES_MAX)
                        return -1;
                if (next == WLS_LATER)
                        pause_before_retry(call->deadline);
                else if (get_token(call, (const char *)call->token.data, err) < 0)
                        return -1;
        }
}

static int fetch(void *self, const struct key_request *request, struct envelope *ret,
                 struct wla_error *err) {
        const struct wls_source *source = self;
        struct wls_call call = {
                .source = source,
                .deadline = &request->deadline,
                .body = BUF_WITH_LIMIT(REQUEST_MAX),
        };
        uint8_t wrapped[RSA_WRAPPED_SIZE];
        struct key_link link;

        if (key_link_parse(&request->id, &source->allowed, &link, err) < 0)
                return -1;

        int outcome = write_body(source, &link, &call.body, err);
        if (outcome == 0)
                outcome = ask(&call, wrapped, err);
        if (outcome == 0)
                outcome = buf_append(&ret->bytes, wrapped, sizeof(wrapped), err);
        buf_clear(&call.body);
        buf_clear(&call.token);
        ret->kind = ENVELOPE_TPM_BOUND;
        return outcome;
}

static const struct key_source_ops ops = {
        .name = "wls",
        .fetch = fetch,
};

int wls_source_new(const struct wls_options *options, struct wls_source **ret,
                   struct wla_error *err) {
        struct wls_source *source = calloc(1, sizeof(*source));

        if (!source || asprintf(&source->url, "%s/keys", options->url) < 0) {
                free(source);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        source->hardware = options->hardware;
        source->allowed = options->allowed;
        source->http = options->http;
        source->token = options->token;
        *ret = source;
        return 0;
}

struct wls_source *wls_source_free(struct wls_source *source) {
        if (source)
                free(source->url);
        free(source);
        return NULL;
}

struct key_source wls_source_as_source(struct wls_source *source) {
        return (struct key_source){.ops = &ops, .self = source};
}
