/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Signed reports on their way to WLS: one at a time, each until WLS has taken or refused it.
 *
 * A report is posted as it was signed.  It is removed from the disk when WLS has answered that it took it; so
 * one whose answer was lost, or whose removal, is posted again: WLS gets each at least once.  What fails is
 * tried again after a pause that grows (backoff.h), beginning with the next report, so that one which WLS
 * fails at holds up no other.  A report that has waited for REPORT_AGE_MAX and fails again is given up;
 * above REPORTS_MAX the oldest is.
 *
 * Where WLS has no route for reports nothing more is posted until report_queue_resume(); they wait.
 *
 * Ownership: what the options name is borrowed.
 * Threads:   the loop thread; posting and files on the pool.
 * Failure:   none to the caller: what is lost is told in the journal.
 */

#include "trust_report/report_maker.h"
#include "trust_report/report_answer.h"

#define REPORTS_MAX        1024u
#define REPORT_AGE_MAX_SEC (7u * 24 * 60 * 60)

struct report_queue;

struct report_queue_options {
        sd_event *event;
        struct pool *pool;
        const char *state_directory;
        struct wls_service wls;
};

/* Takes up what the disk has. */
int report_queue_new(const struct report_queue_options *options, struct report_queue **ret,
                     struct wla_error *err) _must_check_;

/* As those of report_maker.h. */
void report_queue_stop(struct report_queue *queue);
struct report_queue *report_queue_free(struct report_queue *queue);

/* Takes the body of one that was not stored. */
void report_queue_add(struct report_queue *queue, struct made_report *made);

bool report_queue_has(const struct report_queue *queue, const struct report_name *name);

/* Whatever has kept it from posting may be mended. */
void report_queue_resume(struct report_queue *queue);

struct report_queue_state {
        size_t waiting;
        uint64_t posted; /* since the start, as the next two */
        uint64_t refused;
        uint64_t given_up;
        bool no_route;
        const char *problem; /* of the last attempt, if it failed; else "" */
};

struct report_queue_state report_queue_state(const struct report_queue *queue);
