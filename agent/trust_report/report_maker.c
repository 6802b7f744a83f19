/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/report_maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/metrics.h"
#include "trust_report/backoff.h"

#define MAKE_TIME      (30 * USEC_PER_SEC)
#define PENDING_MAX    256u
#define TIMER_ACCURACY (50 * USEC_PER_MSEC)
#define PROBLEM_SIZE   512u

struct pending {
        TAILQ_ENTRY(pending) entry;
        struct trust_facts facts;
        struct report_listener listener;
};

TAILQ_HEAD(pending_list, pending);

struct make_job {
        struct pool_job job; /* first: the pool hands it back */
        struct report_maker *maker;
        struct trust_facts facts;
        struct deadline deadline;
        struct made_report made;
        int outcome;
        struct wla_error err;
};

struct report_maker {
        struct report_maker_options options;
        char *certificate; /* its path */
        struct pending_list pending;
        size_t count;
        struct make_job *job; /* under way: of the first that is pending */
        sd_event_source *timer;
        struct backoff backoff;
        char problem[PROBLEM_SIZE];
        bool stopping;
};

static struct report_name name_of(const struct trust_facts *facts) {
        return (struct report_name){
                .started_sec = facts->started_sec, .vm = facts->vm, .image = facts->image};
}

static void run(struct pool_job *pool_job) {
        struct make_job *job = (struct make_job *)pool_job;
        const struct report_maker_options *options = &job->maker->options;
        struct made_report *made = &job->made;

        job->outcome = signed_report_make(&options->signer, &job->facts, &job->deadline,
                                          &made->body, &job->err);
        if (job->outcome == 0)
                made->stored = report_store_write(options->state_directory, &made->name,
                                                  &made->body, &made->problem) == 0;
}

static void remove_pending(struct report_maker *maker, struct pending *pending) {
        TAILQ_REMOVE(&maker->pending, pending, entry);
        maker->count--;
        free(pending);
}

static void do_not_make(struct report_maker *maker, struct pending *pending) {
        metrics_count(METRIC_TRUST_REPORTS, METRIC_REPORT_NOT_MADE, 0);
        remove_pending(maker, pending);
}

/* The first failure of its kind. */
static void tell(struct report_maker *maker, const struct wla_error *err) {
        char problem[PROBLEM_SIZE];

        wla_error_format(err, problem, sizeof(problem));
        if (strcmp(problem, maker->problem) != 0)
                log_line(LOG_WARNING, "trust reports of VMs are not made: %s", problem);
        (void)snprintf(maker->problem, sizeof(maker->problem), "%s", problem);
}

static void begin(struct report_maker *maker);

static void begin_in(struct report_maker *maker, uint64_t usec) {
        (void)sd_event_source_set_time_relative(maker->timer, usec);
        (void)sd_event_source_set_enabled(maker->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        (void)source;
        (void)usec;
        begin(userdata);
        return 0;
}

/* Where no signing key was set up nothing will come of waiting. */
static void failed(struct report_maker *maker, const struct wla_error *err) {
        tell(maker, err);
        if (err->code == WLA_E_NOT_FOUND) {
                while (!TAILQ_EMPTY(&maker->pending))
                        do_not_make(maker, TAILQ_FIRST(&maker->pending));
                backoff_reset(&maker->backoff);
        } else if (err->code == WLA_E_TIMEOUT || err->code == WLA_E_UNAVAILABLE ||
                   err->code == WLA_E_BUSY) {
                begin_in(maker, backoff_next(&maker->backoff));
        } else {
                begin_in(maker, backoff_longest(&maker->backoff));
        }
}

static void done(struct pool_job *pool_job, bool dropped) {
        struct make_job *job = (struct make_job *)pool_job;
        struct report_maker *maker = job->maker;

        maker->job = NULL;
        if (!dropped && job->outcome == 0) {
                backoff_reset(&maker->backoff);
                maker->problem[0] = '\0';
                remove_pending(maker, TAILQ_FIRST(&maker->pending));
                maker->options.made(maker->options.userdata, &job->made);
        } else if (!dropped && !maker->stopping) {
                failed(maker, &job->err);
        }
        buf_clear(&job->made.body);
        free(job);
        if (maker->backoff.pause_usec == 0)
                begin(maker);
}

static int submit(struct report_maker *maker, const struct pending *pending,
                  struct wla_error *err) {
        struct make_job *job = calloc(1, sizeof(*job));

        if (!job)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        job->job = (struct pool_job){.run = run, .done = done};
        job->maker = maker;
        job->facts = pending->facts;
        job->made.name = name_of(&pending->facts);
        job->made.listener = pending->listener;
        job->made.body = BUF_WITH_LIMIT(SIGNED_REPORT_MAX);
        deadline_init(&job->deadline, clock_now_usec() + MAKE_TIME);
        if (pool_submit(maker->options.pool, &job->job, err) < 0) {
                free(job);
                return -1;
        }
        maker->job = job;
        return 0;
}

static void begin(struct report_maker *maker) {
        struct pending *first = TAILQ_FIRST(&maker->pending);
        struct wla_error err = {0};

        if (first && !maker->job && !maker->stopping && submit(maker, first, &err) < 0)
                failed(maker, &err);
}

/* The one under way stays the first. */
static void make_room(struct report_maker *maker) {
        struct pending *oldest = TAILQ_FIRST(&maker->pending);

        if (maker->count < PENDING_MAX)
                return;
        if (maker->job)
                oldest = TAILQ_NEXT(oldest, entry);
        log_line(LOG_WARNING, "the trust report of VM %s is not made: %u others wait to be signed",
                 oldest->facts.vm.text, PENDING_MAX);
        do_not_make(maker, oldest);
}

void report_maker_add(struct report_maker *maker, const struct trust_facts *facts,
                      const struct report_listener *listener) {
        struct pending *pending = calloc(1, sizeof(*pending));

        if (!pending) {
                log_line(LOG_WARNING, "the trust report of VM %s is not made: out of memory",
                         facts->vm.text);
                return;
        }
        make_room(maker);
        pending->facts = *facts;
        if (listener)
                pending->listener = *listener;
        TAILQ_INSERT_TAIL(&maker->pending, pending, entry);
        maker->count++;
        if (maker->backoff.pause_usec == 0)
                begin(maker);
}

void report_maker_resume(struct report_maker *maker) {
        backoff_reset(&maker->backoff);
        begin(maker);
}

bool report_maker_has(const struct report_maker *maker, const struct report_name *name) {
        const struct pending *pending = NULL;

        TAILQ_FOREACH(pending, &maker->pending, entry) {
                const struct report_name present = name_of(&pending->facts);

                if (report_name_equal(&present, name))
                        return true;
        }
        return false;
}

size_t report_maker_count(const struct report_maker *maker) {
        return maker->count;
}

const char *report_maker_problem(const struct report_maker *maker) {
        return maker->problem;
}

int report_maker_new(const struct report_maker_options *options, struct report_maker **ret,
                     struct wla_error *err) {
        struct report_maker *maker = calloc(1, sizeof(*maker));

        if (!maker)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        maker->options = *options;
        TAILQ_INIT(&maker->pending);
        maker->certificate = strdup(options->signer.certificate);
        maker->options.signer.certificate = maker->certificate;
        if (!maker->certificate) {
                report_maker_free(maker);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        int outcome = sd_event_add_time(options->event, &maker->timer, CLOCK_MONOTONIC, UINT64_MAX,
                                        TIMER_ACCURACY, on_timer, maker);
        if (outcome >= 0)
                outcome = sd_event_source_set_enabled(maker->timer, SD_EVENT_OFF);
        if (outcome < 0) {
                report_maker_free(maker);
                return wla_fail_errno(err, -outcome, "cannot make a timer");
        }
        *ret = maker;
        return 0;
}

void report_maker_stop(struct report_maker *maker) {
        maker->stopping = true;
        if (maker->job)
                deadline_cancel(&maker->job->deadline);
}

struct report_maker *report_maker_free(struct report_maker *maker) {
        if (!maker)
                return NULL;

        sd_event_source_disable_unref(maker->timer);
        while (!TAILQ_EMPTY(&maker->pending))
                remove_pending(maker, TAILQ_FIRST(&maker->pending));
        free(maker->certificate);
        free(maker);
        return NULL;
}
