/* SPDX-License-Identifier: Apache-2.0 */
#include "source/broker_gate.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "base/jitter.h"
#include "base/log.h"
#include "loop/condition.h"

#define ANSWER_MAX 65536u

/* Between looks; each is waited for a random part of it, at least half. */
#define PAUSE_FIRST_USEC   (250 * USEC_PER_MSEC)
#define PAUSE_LONGEST_USEC USEC_PER_SEC

/* How long a look may take: more when it was too short for a service that is merely slow. */
#define LOOK_FIRST_USEC   (2 * USEC_PER_SEC)
#define SILENCE_USEC      LOOK_FIRST_USEC
#define LOOK_LONGEST_USEC (16 * USEC_PER_SEC)

static const char hint_proxy[] = "a proxy or load balancer reaches nobody behind it";

struct asking {
        LIST_ENTRY(asking) entry;
        uint64_t begun_usec;
        const struct deadline *deadline;
};

struct broker_gate {
        struct http_client *http;
        const char *name;
        char *url;
        char *look_url;

        pthread_mutex_t lock;
        pthread_cond_t change; /* it was opened, or nobody looks any more */
        bool closed;
        bool looking; /* one of those who wait */
        bool told;    /* the log has it */
        time_t since; /* CLOCK_REALTIME, for people */
        uint64_t look_at_usec;
        uint64_t pause_usec;
        uint64_t look_usec;
        uint64_t answered_usec; /* by the service, whatever it was; CLOCK_MONOTONIC */
        LIST_HEAD(, asking) asking;
        struct wla_error why;
};

/* RFC 9110, section 15.6: 502, 503 and 504 tell of the service, not of the request. */
static bool from_proxy(const struct http_answer *answer) {
        return answer->status >= 502 && answer->status <= 504;
}

/* With the lock held, as all below up to those that take a deadline. */
static int fail_closed(const struct broker_gate *gate, struct wla_error *err) {
        char since[32];
        struct tm utc;

        (void)strftime(since, sizeof(since), "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&gate->since, &utc));
        *err = gate->why;
        (void)wla_wrap(err, "%s %s has been out of reach since %s", gate->name, gate->url, since);
        err->code = WLA_E_UNAVAILABLE;
        return -1;
}

static bool older_one_waits(const struct broker_gate *gate, uint64_t begun_usec) {
        const struct asking *other;

        LIST_FOREACH(other, &gate->asking, entry)
        if (other->begun_usec <= begun_usec && deadline_left_usec(other->deadline) > 0)
                return true;
        return false;
}

/* begun_usec: when the request was.  One that had little time left, or less than one before it that still
 * has some, or that is not answered while others are, does not tell that the service is out of reach. */
static void close_gate(struct broker_gate *gate, uint64_t begun_usec, const struct wla_error *why) {
        if (why->code == WLA_E_TIMEOUT &&
            (gate->answered_usec >= begun_usec || clock_now_usec() - begun_usec < SILENCE_USEC ||
             older_one_waits(gate, begun_usec)))
                return;
        gate->why = *why;
        if (gate->closed)
                return;

        gate->closed = true;
        gate->told = false;
        gate->since = time(NULL);
        gate->pause_usec = PAUSE_FIRST_USEC;
        gate->look_usec = LOOK_FIRST_USEC;
        gate->look_at_usec = clock_now_usec() + jitter_usec(PAUSE_FIRST_USEC / 2, PAUSE_FIRST_USEC);
}

static void open_gate(struct broker_gate *gate) {
        gate->answered_usec = clock_now_usec();
        if (!gate->closed)
                return;

        gate->closed = false;
        if (gate->told)
                log_line(LOG_NOTICE, "%s %s is within reach again", gate->name, gate->url);
        (void)pthread_cond_broadcast(&gate->change);
}

/* A connection that was lost between two that were not is not worth a line. */
static void tell(struct broker_gate *gate) {
        if (!gate->told)
                log_line(LOG_WARNING, "%s %s is out of reach: %s", gate->name, gate->url,
                         wla_error_text(&gate->why));
        gate->told = true;
}

/* Whether it was to be reached; *err tells why not. */
static bool judge(const struct broker_gate *gate, int outcome, const struct http_answer *answer,
                  struct wla_error *err) {
        if (outcome < 0)
                return err->code != WLA_E_UNAVAILABLE && err->code != WLA_E_TIMEOUT;
        if (!from_proxy(answer))
                return true;
        (void)wla_fail_hint(err, WLA_E_UNAVAILABLE, hint_proxy, "%s answered with status %u",
                            gate->name, answer->status);
        return false;
}

static uint64_t later(uint64_t usec, uint64_t most_usec) {
        return 2 * usec < most_usec ? 2 * usec : most_usec;
}

/* Without the lock while the service is asked. */
static void look(struct broker_gate *gate, const struct deadline *deadline) {
        static const char *const headers[] = {"Accept: */*", NULL};
        _cleanup_answer_ struct http_answer answer = {0};
        struct wla_error err = {0};
        bool whole = deadline_left_usec(deadline) > gate->look_usec;
        const struct http_request request = {
                .method = "GET",
                .url = gate->look_url,
                .headers = headers,
                .answer_max = ANSWER_MAX,
                .deadline = deadline,
                .longest_usec = gate->look_usec,
        };

        (void)pthread_mutex_unlock(&gate->lock);
        int outcome = http_perform(gate->http, &request, &answer, &err);
        (void)pthread_mutex_lock(&gate->lock);

        if (judge(gate, outcome, &answer, &err)) {
                open_gate(gate);
                return;
        }
        /* A request that did not wait at the gate may have opened it meanwhile. */
        if (!gate->closed || deadline_cancelled(deadline))
                return;
        if (err.code == WLA_E_TIMEOUT && whole)
                gate->look_usec = later(gate->look_usec, LOOK_LONGEST_USEC);
        else if (err.code != WLA_E_TIMEOUT)
                gate->why = err;
        tell(gate);
        gate->pause_usec = later(gate->pause_usec, PAUSE_LONGEST_USEC);
        gate->look_at_usec = clock_now_usec() + jitter_usec(gate->pause_usec / 2, gate->pause_usec);
}

static void wait_or_look(struct broker_gate *gate, const struct deadline *deadline) {
        struct deadline next;

        if (gate->looking) {
                condition_wait(&gate->change, &gate->lock, deadline);
                return;
        }
        if (clock_now_usec() < gate->look_at_usec) {
                uint64_t at_usec = atomic_load(&deadline->at_usec);

                deadline_init(&next, at_usec < gate->look_at_usec ? at_usec : gate->look_at_usec);
                condition_wait(&gate->change, &gate->lock, &next);
                return;
        }
        gate->looking = true;
        look(gate, deadline);
        gate->looking = false;
        (void)pthread_cond_broadcast(&gate->change);
}

int broker_gate_pass(struct broker_gate *gate, const struct deadline *deadline,
                     struct wla_error *err) {
        int outcome = 0;

        (void)pthread_mutex_lock(&gate->lock);
        while (gate->closed && deadline_left_usec(deadline) > 0)
                wait_or_look(gate, deadline);
        if (deadline_cancelled(deadline))
                outcome = wla_fail(err, WLA_E_TIMEOUT, "nobody waits for the answer any more");
        else if (gate->closed)
                outcome = fail_closed(gate, err);
        (void)pthread_mutex_unlock(&gate->lock);
        return outcome;
}

int broker_gate_ask(struct broker_gate *gate, const struct http_request *request,
                    struct http_answer *ret, struct wla_error *err) {
        struct asking asking = {.begun_usec = clock_now_usec(), .deadline = request->deadline};

        (void)pthread_mutex_lock(&gate->lock);
        LIST_INSERT_HEAD(&gate->asking, &asking, entry);
        (void)pthread_mutex_unlock(&gate->lock);

        int outcome = http_perform(gate->http, request, ret, err);
        bool answered = judge(gate, outcome, ret, err);

        (void)pthread_mutex_lock(&gate->lock);
        LIST_REMOVE(&asking, entry);
        if (answered)
                open_gate(gate);
        else if (!deadline_cancelled(request->deadline))
                close_gate(gate, asking.begun_usec, err);
        (void)pthread_mutex_unlock(&gate->lock);

        if (outcome == 0)
                return answered ? 0 : -1;
        return wla_wrap(err, "%s %s", gate->name, request->url);
}

bool broker_gate_closed(struct broker_gate *gate, struct wla_error *err) {
        (void)pthread_mutex_lock(&gate->lock);
        bool closed = gate->closed;
        if (closed)
                (void)fail_closed(gate, err);
        (void)pthread_mutex_unlock(&gate->lock);
        return closed;
}

int broker_gate_new(struct http_client *http, const char *name, const char *url,
                    struct broker_gate **ret, struct wla_error *err) {
        struct broker_gate *gate = calloc(1, sizeof(*gate));

        if (!gate)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        gate->http = http;
        gate->name = name;
        (void)pthread_mutex_init(&gate->lock, NULL);
        condition_init(&gate->change);
        gate->url = strdup(url);
        if (asprintf(&gate->look_url, "%s/version", url) < 0)
                gate->look_url = NULL;
        if (!gate->url || !gate->look_url) {
                broker_gate_free(gate);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        *ret = gate;
        return 0;
}

struct broker_gate *broker_gate_free(struct broker_gate *gate) {
        if (!gate)
                return NULL;

        (void)pthread_cond_destroy(&gate->change);
        (void)pthread_mutex_destroy(&gate->lock);
        free(gate->look_url);
        free(gate->url);
        free(gate);
        return NULL;
}
