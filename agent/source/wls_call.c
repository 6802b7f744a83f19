/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls_call.h"

#include <stdio.h>
#include <time.h>

#include "base/jitter.h"

#define URL_MAX          1024u
#define TRIES_MAX        2
#define PAUSE_LEAST_USEC (200 * USEC_PER_MSEC)
#define PAUSE_MOST_USEC  (600 * USEC_PER_MSEC)

struct attempt {
        const struct wls_service *service;
        const struct wls_call *call;
        const struct deadline *deadline;
        struct buf url;           /* the text, terminated */
        struct wla_secret *token; /* a header line */
        bool answered;            /* at least one of its requests */
        bool untrusted;           /* HVS does not trust this host */
};

static int get_token(struct attempt *attempt, const struct wla_secret *refused,
                     struct wla_error *err) {
        struct wla_secret *fresh = NULL;

        if (broker_token_get(attempt->service->token, refused, attempt->deadline, &fresh, err) < 0)
                return -1;
        wla_secret_free(attempt->token);
        attempt->token = fresh;
        return 0;
}

static int perform(const struct attempt *attempt, struct http_answer *ret, struct wla_error *err) {
        static const char *const headers[] = {
                "Accept: application/json",
                "Content-Type: application/json",
                NULL,
        };
        const struct http_request request = {
                .method = attempt->call->method,
                .url = (const char *)attempt->url.data,
                .headers = headers,
                .secret_header = attempt->token,
                .body = attempt->call->body,
                .answer_max = WLS_ANSWER_MAX,
                .deadline = attempt->deadline,
                .yields = attempt->call->once,
        };

        return broker_gate_ask(attempt->service->gate, &request, ret, err);
}

static int try_once(struct attempt *attempt, enum wls_next *ret_next, struct wla_error *err) {
        _cleanup_answer_ struct http_answer answer = {0};

        if (perform(attempt, &answer, err) < 0) {
                *ret_next = err->code == WLA_E_UNAVAILABLE ? WLS_AT_RETURN : WLS_FINAL;
                return -1;
        }
        attempt->answered = true;
        if (attempt->call->read(attempt->call->userdata, &answer, ret_next, err) == 0)
                return 0;
        attempt->untrusted = wls_answer_says_untrusted(&answer);
        return -1;
}

/* At random, so that hosts which failed together do not come back together. */
static void pause_before_retry(const struct deadline *deadline) {
        uint64_t left_usec = deadline_left_usec(deadline);

        uint64_t usec = jitter_usec(PAUSE_LEAST_USEC, PAUSE_MOST_USEC);

        if (usec > left_usec)
                usec = left_usec;
        const struct timespec time = {
                .tv_sec = (time_t)(usec / USEC_PER_SEC),
                .tv_nsec = (long)(usec % USEC_PER_SEC * 1000),
        };
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static int make_ready_again(struct attempt *attempt, enum wls_next next, struct wla_error *err) {
        if (next == WLS_NEW_TOKEN)
                return get_token(attempt, attempt->token, err);
        if (next == WLS_LATER)
                pause_before_retry(attempt->deadline);
        return 0;
}

static int attempt_all(struct attempt *attempt, struct wla_error *err) {
        enum wls_next next = WLS_FINAL;

        if (get_token(attempt, NULL, err) < 0)
                return -1;
        for (int tries = 1;; tries++) {
                if (!attempt->call->once &&
                    broker_gate_pass(attempt->service->gate, attempt->deadline, err) < 0)
                        return -1;
                if (try_once(attempt, &next, err) == 0)
                        return 0;
                if (next == WLS_FINAL || tries == TRIES_MAX ||
                    (next != WLS_NEW_TOKEN && attempt->call->once))
                        return -1;
                if (make_ready_again(attempt, next, err) < 0)
                        return -1;
        }
}

int wls_call(const struct wls_service *service, const struct wls_call *call,
             const struct deadline *deadline, struct wla_error *err) {
        struct attempt attempt = {
                .service = service,
                .call = call,
                .deadline = deadline,
                .url = BUF_WITH_LIMIT(URL_MAX),
        };
        int outcome = buf_printf(&attempt.url, err, "%s%s", service->url, call->path);

        if (outcome == 0 && !buf_text(&attempt.url, err))
                outcome = -1;
        if (outcome == 0)
                outcome = attempt_all(&attempt, err);
        broker_record_note(service->record, outcome == 0 ? WLA_OK : err->code, attempt.answered,
                           attempt.untrusted               ? BROKER_TRUST_NO
                           : outcome == 0 && call->attests ? BROKER_TRUST_YES
                                                           : BROKER_TRUST_UNKNOWN);
        buf_clear(&attempt.url);
        wla_secret_free(attempt.token);
        return outcome;
}

bool wls_service_obstacle(const struct wls_service *service, struct wla_error *err) {
        return broker_gate_closed(service->gate, err) || broker_token_obstacle(service->token, err);
}
