/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A queue with exactly one thread, which owns one resource that is not thread-safe (the TPM).
 *
 * Jobs are run in the order in which they come, but for patient ones: they let all others go first.  While a job waits
 * for the device, it may have the next one prepare itself with lane_prepare_next().
 *
 * lane_call() blocks the calling worker until the job has run or the deadline has passed.  A job whose
 * caller has given up is finished by the lane and then freed by it: the caller never waits longer than
 * its deadline for a device that hangs.
 *
 * Ownership: the lane takes the job with lane_call(); on success the caller gets it back in *job.  On
 *            failure *job is NULL and free has been, or will be, called.
 * Threads:   lane_call() from any worker; run, prepare and lane_prepare_next() on the lane's thread; free there or on
 *            the caller's.
 * Failure:   WLA_E_TIMEOUT, WLA_E_BUSY when the queue is full.
 */

#include <pthread.h>

#include "base/clock.h"
#include "wlagent/error.h"

struct lane;

struct lane_job {
        void (*run)(struct lane_job *job, void *resource);
        void (*free)(struct lane_job *job); /* wipes what the job holds */
        /* Does, without the device, what can be done before its turn; NULL: nothing. */
        void (*prepare)(struct lane_job *job, void *resource);
        bool patient; /* nobody waits for its result */

        /* The lane's. */
        struct lane_job *next;
        pthread_cond_t *finished; /* its caller's, who alone is woken */
        int state;
};

/* name: at most 15 characters, the thread's name.  resource is handed to every job. */
int lane_new(const char *name, void *resource, size_t queue_max, struct lane **ret,
             struct wla_error *err) _must_check_;

/* Runs what is queued, then ends the thread.  With a job that hangs this waits for it. */
struct lane *lane_free(struct lane *lane);

int lane_call(struct lane *lane, struct lane_job **job, const struct deadline *deadline,
              struct wla_error *err) _must_check_;

/* From within run(), for lane: the job that is next is decided on, and prepares itself, if it can.  It is run next, also
 * when its caller has gone meanwhile.  Again before it runs: nothing. */
void lane_prepare_next(void *lane);

/* Since when the running job has been running, CLOCK_MONOTONIC; 0 when idle. */
uint64_t lane_busy_since_usec(struct lane *lane);
