/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/lane.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "loop/condition.h"
#include "loop/thread.h"

enum job_state {
        JOB_QUEUED = 0,
        JOB_NEXT,
        JOB_RUNNING,
        JOB_ABANDONED, /* running or next, and its caller has gone */
        JOB_FINISHED,
};

struct lane {
        pthread_mutex_t lock;
        pthread_cond_t work; /* the queue is not empty, or stopping */
        pthread_cond_t left; /* a caller has, while the lane stops */
        struct lane_job *first;
        struct lane_job *next; /* has been prepared, and is in the queue no more; NULL: none */
        size_t queued;
        size_t queue_max;
        size_t callers;
        uint64_t busy_since_usec;
        bool stopping;
        void *resource;
        pthread_t thread;
        char name[THREAD_NAME_MAX + 1];
};

/* Behind those of its kind. */
static void insert(struct lane *lane, struct lane_job *job) {
        struct lane_job **at = &lane->first;

        while (*at && (job->patient || !(*at)->patient))
                at = &(*at)->next;
        job->next = *at;
        *at = job;
        lane->queued++;
}

static void unlink_job(struct lane *lane, struct lane_job *job) {
        struct lane_job **at = &lane->first;

        while (*at != job)
                at = &(*at)->next;
        *at = job->next;
        lane->queued--;
}

static void run_next(struct lane *lane) {
        struct lane_job *job = lane->next;

        if (job)
                lane->next = NULL;
        else
                unlink_job(lane, job = lane->first);
        if (job->state != JOB_ABANDONED)
                job->state = JOB_RUNNING;
        lane->busy_since_usec = clock_now_usec();

        (void)pthread_mutex_unlock(&lane->lock);
        job->run(job, lane->resource);
        (void)pthread_mutex_lock(&lane->lock);

        lane->busy_since_usec = 0;
        if (job->state == JOB_RUNNING) {
                job->state = JOB_FINISHED;
                (void)pthread_cond_signal(job->finished);
                return;
        }

        (void)pthread_mutex_unlock(&lane->lock);
        job->free(job);
        (void)pthread_mutex_lock(&lane->lock);
}

void lane_prepare_next(void *argument) {
        struct lane *lane = argument;
        struct lane_job *job = NULL;

        (void)pthread_mutex_lock(&lane->lock);
        if (!lane->next && lane->first && lane->first->prepare) {
                job = lane->next = lane->first;
                unlink_job(lane, job);
                job->state = JOB_NEXT;
        }
        (void)pthread_mutex_unlock(&lane->lock);

        if (job)
                job->prepare(job, lane->resource);
}

static void *lane_thread(void *argument) {
        struct lane *lane = argument;

        (void)pthread_mutex_lock(&lane->lock);
        while (lane->next || lane->first || !lane->stopping) {
                if (lane->next || lane->first)
                        run_next(lane);
                else
                        (void)pthread_cond_wait(&lane->work, &lane->lock);
        }
        (void)pthread_mutex_unlock(&lane->lock);
        return NULL;
}

static void destroy(struct lane *lane) {
        (void)pthread_cond_destroy(&lane->left);
        (void)pthread_cond_destroy(&lane->work);
        (void)pthread_mutex_destroy(&lane->lock);
        free(lane);
}

int lane_new(const char *name, void *resource, size_t queue_max, struct lane **ret,
             struct wla_error *err) {
        assert(strlen(name) <= THREAD_NAME_MAX);

        struct lane *lane = calloc(1, sizeof(*lane));
        if (!lane)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        memcpy(lane->name, name, strlen(name));
        lane->resource = resource;
        lane->queue_max = queue_max;
        (void)pthread_mutex_init(&lane->lock, NULL);
        condition_init(&lane->work);
        condition_init(&lane->left);

        if (thread_start(name, lane_thread, lane, &lane->thread, err) < 0) {
                destroy(lane);
                return -1;
        }

        *ret = lane;
        return 0;
}

struct lane *lane_free(struct lane *lane) {
        if (!lane)
                return NULL;

        (void)pthread_mutex_lock(&lane->lock);
        lane->stopping = true;
        (void)pthread_cond_signal(&lane->work);
        (void)pthread_mutex_unlock(&lane->lock);
        (void)pthread_join(lane->thread, NULL);

        (void)pthread_mutex_lock(&lane->lock);
        while (lane->callers > 0)
                (void)pthread_cond_wait(&lane->left, &lane->lock);
        (void)pthread_mutex_unlock(&lane->lock);

        destroy(lane);
        return NULL;
}

static int fail_in_time(const struct lane *lane, enum job_state state,
                        const struct deadline *deadline, struct wla_error *err) {
        if (deadline_cancelled(deadline))
                return wla_fail(err, WLA_E_TIMEOUT, "nobody waits for the answer any more");
        if (state == JOB_QUEUED || state == JOB_NEXT)
                return wla_fail(err, WLA_E_TIMEOUT, "timed out while the %s was busy", lane->name);
        return wla_fail(err, WLA_E_TIMEOUT, "no answer from the %s in time", lane->name);
}

/* With the lock held.  *job is NULL afterwards if the lane keeps it. */
static int wait_for_job(struct lane *lane, struct lane_job **job, const struct deadline *deadline,
                        struct wla_error *err) {
        while ((*job)->state != JOB_FINISHED) {
                if (deadline_left_usec(deadline) == 0)
                        break;
                condition_wait((*job)->finished, &lane->lock, deadline);
        }

        enum job_state state = (enum job_state)(*job)->state;
        if (state == JOB_FINISHED)
                return 0;

        if (state == JOB_QUEUED) {
                unlink_job(lane, *job);
        } else {
                (*job)->state = JOB_ABANDONED;
                *job = NULL;
        }
        return fail_in_time(lane, state, deadline, err);
}

/* With the lock held. */
static int enter(struct lane *lane, struct lane_job *job, struct wla_error *err) {
        if (lane->stopping)
                return wla_fail(err, WLA_E_UNAVAILABLE, "the agent is stopping");
        if (lane->queued >= lane->queue_max)
                return wla_fail(err, WLA_E_BUSY, "%zu requests wait for the %s already",
                                lane->queued, lane->name);

        job->state = JOB_QUEUED;
        insert(lane, job);
        lane->callers++;
        (void)pthread_cond_signal(&lane->work);
        return 0;
}

static void leave(struct lane *lane) {
        lane->callers--;
        if (lane->stopping)
                (void)pthread_cond_broadcast(&lane->left);
}

int lane_call(struct lane *lane, struct lane_job **job, const struct deadline *deadline,
              struct wla_error *err) {
        pthread_cond_t finished;

        condition_init(&finished);
        (*job)->finished = &finished;
        (void)pthread_mutex_lock(&lane->lock);
        int r = enter(lane, *job, err);
        if (r == 0) {
                r = wait_for_job(lane, job, deadline, err);
                leave(lane);
        }
        (void)pthread_mutex_unlock(&lane->lock);
        (void)pthread_cond_destroy(&finished);

        if (r < 0 && *job) {
                (*job)->free(*job);
                *job = NULL;
        }
        return r;
}

uint64_t lane_busy_since_usec(struct lane *lane) {
        (void)pthread_mutex_lock(&lane->lock);
        uint64_t since_usec = lane->busy_since_usec;
        (void)pthread_mutex_unlock(&lane->lock);

        return since_usec;
}
