/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/report_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "base/log.h"
#include "base/metrics.h"
#include "trust_report/backoff.h"

/* More than WLS takes for an answer, which it cuts after 10 seconds. */
#define POST_TIME      (15 * USEC_PER_SEC)
#define TIMER_ACCURACY (50 * USEC_PER_MSEC)
#define PROBLEM_SIZE   512u

struct waiting {
        TAILQ_ENTRY(waiting) entry;
        struct report_name name;
        struct report_listener listener; /* of one that was not stored */
        bool stored;
        struct buf body; /* of one that was not stored */
};

TAILQ_HEAD(waiting_list, waiting);

struct post_job {
        struct pool_job job; /* first: the pool hands it back */
        struct report_queue *queue;
        struct waiting *waiting; /* stays while it is posted */
        struct deadline deadline;
        struct buf body;
        unsigned answers;
        enum report_fate fate;
        bool lost; /* nothing that could be posted is on the disk any more */
        bool stored_now;
        struct wla_error err;
};

struct report_queue {
        struct report_queue_options options;
        struct waiting_list reports;
        struct post_job *job; /* under way */
        sd_event_source *timer;
        struct backoff backoff;
        struct report_queue_state state;
        char problem[PROBLEM_SIZE];
        bool stopping;
};

static void report_event(int priority, const char *id, const struct report_name *name,
                         const char *what, const char *why) {
        const struct log_field fields[] = {
                {"WLA_VM_UUID", name->vm.text},
                {"WLA_IMAGE_ID", name->image.text},
                {NULL, NULL},
        };

        log_event(priority, id, fields, "the trust report of VM %s with image %s %s%s",
                  name->vm.text, name->image.text, what, why);
}

static int read_answer(void *userdata, const struct http_answer *answer, enum wls_next *ret_next,
                       struct wla_error *err) {
        struct post_job *job = userdata;
        int outcome = report_answer_read(answer, &job->fate, ret_next, err);

        job->answers++;
        /* Tokens end: the first refusal says nothing. */
        if (outcome < 0 && *ret_next == WLS_NEW_TOKEN && job->answers == 1)
                job->fate = REPORT_LATER;
        return outcome;
}

static int post(struct post_job *job, const struct buf *body) {
        const struct wls_call call = {
                .method = "POST",
                .path = "/reports",
                .body = {.data = body->data, .size = body->size},
                .once = true,
                .read = read_answer,
                .userdata = job,
        };

        return wls_call(&job->queue->options.wls, &call, &job->deadline, &job->err);
}

/* Besides answers there are those who have to be asked for a token, and certificates. */
static bool is_for_people(enum wla_code code) {
        return code == WLA_E_DENIED || code == WLA_E_INPUT || code == WLA_E_NOT_FOUND;
}

/* From any thread. */
static void remove_stored(const struct report_queue *queue, const struct report_name *name) {
        struct wla_error err = {0};

        if (report_store_remove(queue->options.state_directory, name, &err) < 0)
                report_event(LOG_WARNING, NULL, name,
                             "stays on the disk, and will be posted after a restart: ",
                             wla_error_text(&err));
}

static void run(struct pool_job *pool_job) {
        struct post_job *job = (struct post_job *)pool_job;
        const struct waiting *waiting = job->waiting;
        const char *directory = job->queue->options.state_directory;
        const struct buf *body = waiting->stored ? &job->body : &waiting->body;
        struct wla_error ignored = {0};

        if (waiting->stored &&
            report_store_read(directory, &waiting->name, &job->body, &job->err) < 0) {
                job->lost = job->err.code == WLA_E_NOT_FOUND || job->err.code == WLA_E_INPUT;
                return;
        }
        if (post(job, body) < 0 && job->fate == REPORT_LATER && is_for_people(job->err.code))
                job->fate = REPORT_MUCH_LATER;

        bool waits_on = job->fate != REPORT_TAKEN && job->fate != REPORT_REFUSED;
        if (!waits_on && waiting->stored)
                remove_stored(job->queue, &waiting->name);
        else if (waits_on && !waiting->stored)
                job->stored_now = report_store_write(directory, &waiting->name, body, &ignored) ==
                                  0;
}

/* It need not be made again. */
static void tell_listener(const struct waiting *waiting) {
        if (waiting->listener.kept)
                waiting->listener.kept(waiting->listener.userdata, &waiting->name);
}

static void forget(struct report_queue *queue, struct waiting *waiting) {
        TAILQ_REMOVE(&queue->reports, waiting, entry);
        queue->state.waiting--;
        buf_clear(&waiting->body);
        free(waiting);
}

static void give_up(struct report_queue *queue, struct waiting *waiting, const char *why) {
        report_event(LOG_WARNING, LOG_ID_REPORT_LOST, &waiting->name, "is given up: ", why);
        metrics_count(METRIC_TRUST_REPORTS, METRIC_REPORT_GIVEN_UP, 0);
        queue->state.given_up++;
        if (waiting->stored)
                remove_stored(queue, &waiting->name);
        tell_listener(waiting);
        forget(queue, waiting);
}

static void begin(struct report_queue *queue);

static void begin_in(struct report_queue *queue, uint64_t usec) {
        (void)sd_event_source_set_time_relative(queue->timer, usec);
        (void)sd_event_source_set_enabled(queue->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        (void)source;
        (void)usec;
        begin(userdata);
        return 0;
}

/* The first failure of its kind. */
static void tell(struct report_queue *queue, const struct wla_error *err, const char *what) {
        char problem[PROBLEM_SIZE];

        wla_error_format(err, problem, sizeof(problem));
        if (strcmp(problem, queue->problem) != 0)
                log_line(LOG_WARNING, "%s: %s", what, problem);
        (void)snprintf(queue->problem, sizeof(queue->problem), "%s", problem);
}

static void taken(struct report_queue *queue, struct waiting *waiting) {
        report_event(LOG_NOTICE, LOG_ID_REPORT_POSTED, &waiting->name, "is with WLS", "");
        metrics_count(METRIC_TRUST_REPORTS, METRIC_REPORT_POSTED, 0);
        queue->state.posted++;
        backoff_reset(&queue->backoff);
        queue->problem[0] = '\0';
        tell_listener(waiting);
        forget(queue, waiting);
}

static void refused(struct report_queue *queue, struct waiting *waiting,
                    const struct wla_error *err) {
        char reason[PROBLEM_SIZE];

        wla_error_format(err, reason, sizeof(reason));
        report_event(LOG_ERR, LOG_ID_REPORT_LOST, &waiting->name, "is refused: ", reason);
        (void)snprintf(queue->problem, sizeof(queue->problem), "%s", reason);
        metrics_count(METRIC_TRUST_REPORTS, METRIC_REPORT_REFUSED, 0);
        queue->state.refused++;
        backoff_reset(&queue->backoff);
        tell_listener(waiting);
        forget(queue, waiting);
}

static bool is_too_old(const struct waiting *waiting) {
        time_t now = time(NULL);

        return now > 0 && (uint64_t)now > waiting->name.started_sec + REPORT_AGE_MAX_SEC;
}

/* The next one has its turn before it. */
static void wait_on(struct report_queue *queue, struct waiting *waiting, bool stored_now) {
        if (stored_now) {
                waiting->stored = true;
                buf_clear(&waiting->body);
                tell_listener(waiting);
                waiting->listener = (struct report_listener){0};
        }
        TAILQ_REMOVE(&queue->reports, waiting, entry);
        TAILQ_INSERT_TAIL(&queue->reports, waiting, entry);
        if (is_too_old(waiting))
                give_up(queue, waiting, "WLS has not taken it for days");
}

static void settle(struct report_queue *queue, const struct post_job *job) {
        struct waiting *waiting = job->waiting;

        switch (job->fate) {
        case REPORT_TAKEN:
                taken(queue, waiting);
                return;
        case REPORT_REFUSED:
                refused(queue, waiting, &job->err);
                return;
        case REPORT_NO_ROUTE:
                tell(queue, &job->err,
                     "trust reports are switched off until the configuration "
                     "is read again");
                queue->state.no_route = true;
                break;
        case REPORT_LATER:
                tell(queue, &job->err, "trust reports wait");
                begin_in(queue, backoff_next(&queue->backoff));
                break;
        case REPORT_MUCH_LATER:
                tell(queue, &job->err, "trust reports wait");
                begin_in(queue, backoff_longest(&queue->backoff));
                break;
        }
        wait_on(queue, waiting, job->stored_now);
}

/* Somebody has removed or changed it. */
static void lost(struct report_queue *queue, struct waiting *waiting, const struct wla_error *err) {
        report_event(LOG_WARNING, LOG_ID_REPORT_LOST, &waiting->name,
                     "cannot be read: ", wla_error_text(err));
        metrics_count(METRIC_TRUST_REPORTS, METRIC_REPORT_GIVEN_UP, 0);
        queue->state.given_up++;
        forget(queue, waiting);
}

static void done(struct pool_job *pool_job, bool dropped) {
        struct post_job *job = (struct post_job *)pool_job;
        struct report_queue *queue = job->queue;
        bool settled = job->fate == REPORT_TAKEN || job->fate == REPORT_REFUSED;

        queue->job = NULL;
        if (!dropped && job->lost)
                lost(queue, job->waiting, &job->err);
        else if (!dropped && (settled || !queue->stopping))
                settle(queue, job);
        bool goes_on = job->lost || queue->backoff.pause_usec == 0;
        buf_clear(&job->body);
        free(job);
        if (goes_on)
                begin(queue);
}

static int submit(struct report_queue *queue, struct waiting *waiting, struct wla_error *err) {
        struct post_job *job = calloc(1, sizeof(*job));

        if (!job)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        job->job = (struct pool_job){.run = run, .done = done};
        job->queue = queue;
        job->waiting = waiting;
        job->body = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        job->fate = REPORT_LATER;
        deadline_init(&job->deadline, clock_now_usec() + POST_TIME);
        if (pool_submit(queue->options.pool, &job->job, err) < 0) {
                free(job);
                return -1;
        }
        queue->job = job;
        return 0;
}

static void begin(struct report_queue *queue) {
        struct waiting *first = TAILQ_FIRST(&queue->reports);
        struct wla_error err = {0};

        /* The next that comes begins at once: perhaps no timer runs that would. */
        if (!first)
                backoff_reset(&queue->backoff);
        if (!first || queue->job || queue->stopping || queue->state.no_route)
                return;
        if (submit(queue, first, &err) < 0) {
                tell(queue, &err, "trust reports wait");
                begin_in(queue, backoff_next(&queue->backoff));
        }
}

/* In the order of their starts, whatever the order of arrival. */
static void insert(struct report_queue *queue, struct waiting *waiting) {
        struct waiting *after = TAILQ_LAST(&queue->reports, waiting_list);

        while (after && after->name.started_sec > waiting->name.started_sec)
                after = TAILQ_PREV(after, waiting_list, entry);
        if (after)
                TAILQ_INSERT_AFTER(&queue->reports, after, waiting, entry);
        else
                TAILQ_INSERT_HEAD(&queue->reports, waiting, entry);
        queue->state.waiting++;
}

static void make_room(struct report_queue *queue) {
        struct waiting *oldest = NULL;
        struct waiting *waiting;

        if (queue->state.waiting < REPORTS_MAX)
                return;
        TAILQ_FOREACH(waiting, &queue->reports, entry)
        if ((!queue->job || queue->job->waiting != waiting) &&
            (!oldest || waiting->name.started_sec < oldest->name.started_sec))
                oldest = waiting;
        if (oldest)
                give_up(queue, oldest, "too many others wait, and it is the oldest");
}

void report_queue_add(struct report_queue *queue, struct made_report *made) {
        struct waiting *waiting = calloc(1, sizeof(*waiting));

        if (!made->stored)
                report_event(LOG_WARNING, NULL, &made->name,
                             "cannot be written and is kept in memory only: ",
                             wla_error_text(&made->problem));
        if (!waiting) {
                /* The next start of the agent finds it on the disk. */
                log_line(LOG_WARNING, "the trust report of VM %s is not posted: out of memory",
                         made->name.vm.text);
                return;
        }
        make_room(queue);
        waiting->name = made->name;
        waiting->stored = made->stored;
        waiting->listener = made->listener;
        if (made->stored) {
                tell_listener(waiting);
                waiting->listener = (struct report_listener){0};
        } else {
                waiting->body = made->body;
                made->body = (struct buf){0};
        }
        insert(queue, waiting);
        if (queue->backoff.pause_usec == 0)
                begin(queue);
}

bool report_queue_has(const struct report_queue *queue, const struct report_name *name) {
        const struct waiting *waiting;

        TAILQ_FOREACH(waiting, &queue->reports, entry)
        if (report_name_equal(&waiting->name, name))
                return true;
        return false;
}

void report_queue_resume(struct report_queue *queue) {
        queue->state.no_route = false;
        backoff_reset(&queue->backoff);
        begin(queue);
}

struct report_queue_state report_queue_state(const struct report_queue *queue) {
        struct report_queue_state state = queue->state;

        state.problem = queue->problem;
        return state;
}

static int take_up(void *userdata, const struct report_name *name, struct wla_error *err) {
        struct report_queue *queue = userdata;
        struct waiting *waiting = calloc(1, sizeof(*waiting));

        if (!waiting)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        make_room(queue);
        waiting->name = *name;
        waiting->stored = true;
        insert(queue, waiting);
        return 0;
}

int report_queue_new(const struct report_queue_options *options, struct report_queue **ret,
                     struct wla_error *err) {
        struct report_queue *queue = calloc(1, sizeof(*queue));

        if (!queue)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        queue->options = *options;
        TAILQ_INIT(&queue->reports);
        int outcome = sd_event_add_time(options->event, &queue->timer, CLOCK_MONOTONIC, UINT64_MAX,
                                        TIMER_ACCURACY, on_timer, queue);
        if (outcome >= 0)
                outcome = sd_event_source_set_enabled(queue->timer, SD_EVENT_OFF);
        if (outcome < 0) {
                report_queue_free(queue);
                return wla_fail_errno(err, -outcome, "cannot make a timer");
        }
        /* A disk that cannot be read now is no reason not to start. */
        if (report_store_list(options->state_directory, take_up, queue, err) < 0)
                log_line(LOG_WARNING, "trust reports that wait are not found: %s",
                         wla_error_text(err));
        if (queue->state.waiting > 0)
                begin_in(queue, backoff_next(&queue->backoff));
        *ret = queue;
        return 0;
}

void report_queue_stop(struct report_queue *queue) {
        queue->stopping = true;
        if (queue->job)
                deadline_cancel(&queue->job->deadline);
}

struct report_queue *report_queue_free(struct report_queue *queue) {
        if (!queue)
                return NULL;

        sd_event_source_disable_unref(queue->timer);
        while (!TAILQ_EMPTY(&queue->reports))
                forget(queue, TAILQ_FIRST(&queue->reports));
        free(queue);
        return NULL;
}
