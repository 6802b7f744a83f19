/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_report/trust_reporter.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define WORKERS   2u /* one signs and one posts */
#define QUEUE_MAX 2u

struct trust_reporter {
        struct uuid host;
        struct pool *pool;
        sd_event_source *pool_source;
        struct report_maker *maker;
        struct report_queue *queue;
};

static int on_pool(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct trust_reporter *reporter = userdata;

        (void)source;
        (void)fd;
        (void)events;
        pool_dispatch(reporter->pool);
        return 0;
}

static void made(void *userdata, struct made_report *made_report) {
        struct trust_reporter *reporter = userdata;

        report_queue_add(reporter->queue, made_report);
}

static int make_pool(struct trust_reporter *reporter, sd_event *event, struct wla_error *err) {
        if (pool_new(WORKERS, QUEUE_MAX, &reporter->pool, err) < 0)
                return -1;
        int outcome = sd_event_add_io(event, &reporter->pool_source, pool_fd(reporter->pool),
                                      EPOLLIN, on_pool, reporter);
        if (outcome < 0)
                return wla_fail_errno(err, -outcome, "cannot watch the workers for reports");
        return 0;
}

static int make_parts(struct trust_reporter *reporter, const struct trust_reporter_options *options,
                      struct wla_error *err) {
        const struct report_maker_options maker = {
                .event = options->event,
                .pool = reporter->pool,
                .state_directory = options->state_directory,
                .signer = options->signer,
                .made = made,
                .userdata = reporter,
        };
        const struct report_queue_options queue = {
                .event = options->event,
                .pool = reporter->pool,
                .state_directory = options->state_directory,
                .wls = options->wls,
        };

        if (report_maker_new(&maker, &reporter->maker, err) < 0)
                return -1;
        return report_queue_new(&queue, &reporter->queue, err);
}

int trust_reporter_new(const struct trust_reporter_options *options, struct trust_reporter **ret,
                       struct wla_error *err) {
        struct trust_reporter *reporter = calloc(1, sizeof(*reporter));

        if (!reporter)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        reporter->host = options->host;
        if (make_pool(reporter, options->event, err) < 0 ||
            make_parts(reporter, options, err) < 0) {
                trust_reporter_free(reporter);
                return wla_wrap(err, "trust reports");
        }
        *ret = reporter;
        return 0;
}

struct trust_reporter *trust_reporter_free(struct trust_reporter *reporter) {
        if (!reporter)
                return NULL;

        if (reporter->maker)
                report_maker_stop(reporter->maker);
        if (reporter->queue)
                report_queue_stop(reporter->queue);
        pool_free(reporter->pool);
        sd_event_source_disable_unref(reporter->pool_source);
        report_maker_free(reporter->maker);
        report_queue_free(reporter->queue);
        free(reporter);
        return NULL;
}

void trust_reporter_add(struct trust_reporter *reporter, const struct trust_facts *facts,
                        const struct report_listener *listener) {
        const struct report_name name = {
                .started_sec = facts->started_sec, .vm = facts->vm, .image = facts->image};
        struct trust_facts whole = *facts;

        if (report_queue_has(reporter->queue, &name)) {
                listener->kept(listener->userdata, &name);
                return;
        }
        if (report_maker_has(reporter->maker, &name))
                return;
        whole.host = reporter->host;
        report_maker_add(reporter->maker, &whole, listener);
}

void trust_reporter_resume(struct trust_reporter *reporter) {
        if (!reporter)
                return;
        report_maker_resume(reporter->maker);
        report_queue_resume(reporter->queue);
}

size_t trust_reporter_waiting(const struct trust_reporter *reporter) {
        return reporter ? report_queue_state(reporter->queue).waiting : 0;
}

static int write_problem(struct buf *json, const char *problem, struct wla_error *err) {
        if (problem[0] == '\0')
                return buf_append_text(json, "null}", err);
        if (json_write_string(json, problem, strlen(problem), err) < 0)
                return -1;
        return buf_append_text(json, "}", err);
}

int trust_reporter_write_json(const struct trust_reporter *reporter, struct buf *json,
                              struct wla_error *err) {
        struct report_queue_state state = {.problem = ""};
        const char *problem = "";
        size_t unsigned_count = 0;

        if (reporter) {
                state = report_queue_state(reporter->queue);
                unsigned_count = report_maker_count(reporter->maker);
                problem = report_maker_problem(reporter->maker);
        }
        if (buf_printf(json, err,
                       "{\"state\":\"%s\",\"unsigned\":%zu,\"waiting\":%zu,\"posted\":%" PRIu64
                       ",\"refused\":%" PRIu64 ",\"given_up\":%" PRIu64 ",\"problem\":",
                       !reporter        ? "off"
                       : state.no_route ? "no-route"
                                        : "on",
                       unsigned_count, state.waiting, state.posted, state.refused,
                       state.given_up) < 0)
                return -1;
        return write_problem(json, problem[0] != '\0' ? problem : state.problem, err);
}
