/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A bounded pool of worker threads for straight-line blocking work.
 *
 * A job runs once on a worker (run), then comes back to the loop thread (done).  pool_fd() becomes
 * readable when jobs have come back; pool_dispatch() calls their done functions.
 *
 * Ownership: a job is the caller's, embedded in its own struct; it must stay until done is called.
 * Threads:   pool_submit(), pool_dispatch() and pool_free() on the loop thread; run on a worker, done
 *            on the loop thread.
 * Failure:   pool_submit() fails with WLA_E_BUSY when the queue is full.
 */

#include "base/clock.h"
#include "wlagent/error.h"

struct pool;

struct pool_job {
        void (*run)(struct pool_job *job);
        /* dropped: the deadline had passed before a worker took the job, and run was not called. */
        void (*done)(struct pool_job *job, bool dropped);
        const struct deadline *deadline;
        struct pool_job *next; /* the pool's */
        bool dropped;          /* the pool's */
};

int pool_new(unsigned workers, size_t queue_max, struct pool **ret,
             struct wla_error *err) _must_check_;

/* Waits for running jobs, then calls done for every job that has not come back. */
struct pool *pool_free(struct pool *pool);

int pool_submit(struct pool *pool, struct pool_job *job, struct wla_error *err) _must_check_;

/* Takes a job back that no worker has begun: it is the caller's again, and done is not called.  False when
 * it is too late; loop thread. */
bool pool_withdraw(struct pool *pool, struct pool_job *job);

/* An eventfd, non-blocking; the pool's. */
int pool_fd(const struct pool *pool);
void pool_dispatch(struct pool *pool);

/* Jobs that wait for a worker. */
size_t pool_queued(struct pool *pool);
