/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/file.h"
#include "loop/thread.h"

struct job_list {
        struct pool_job *first;
        struct pool_job **end; /* where the next job is hung */
};

struct pool {
        pthread_mutex_t lock;
        pthread_cond_t work; /* the queue is not empty, or stopping */
        struct job_list queue;
        struct job_list back; /* run or dropped, not yet dispatched */
        size_t queued;
        size_t queue_max;
        bool stopping;
        int fd;
        unsigned workers;
        pthread_t threads[];
};

static const char hint_workers[] = "try again; if it persists, raise WorkerThreads=";

static void list_init(struct job_list *list) {
        list->first = NULL;
        list->end = &list->first;
}

static void list_push(struct job_list *list, struct pool_job *job) {
        job->next = NULL;
        *list->end = job;
        list->end = &job->next;
}

static struct pool_job *list_pop(struct job_list *list) {
        struct pool_job *job = list->first;

        list->first = job->next;
        if (!list->first)
                list->end = &list->first;
        return job;
}

static bool job_expired(const struct pool_job *job) {
        return job->deadline && deadline_left_usec(job->deadline) == 0;
}

static void notify(struct pool *pool) {
        uint64_t one = 1;

        /* Cannot fail: the counter is reset by every dispatch, long before it is full. */
        (void)!write(pool->fd, &one, sizeof(one));
}

/* Hands a job back to the loop; with the lock held. */
static void hand_back(struct pool *pool, struct pool_job *job) {
        bool first = !pool->back.first;

        list_push(&pool->back, job);
        if (first)
                notify(pool);
}

static void run_next(struct pool *pool) {
        struct pool_job *job = list_pop(&pool->queue);

        pool->queued--;
        job->dropped = job_expired(job);
        if (!job->dropped) {
                (void)pthread_mutex_unlock(&pool->lock);
                job->run(job);
                (void)pthread_mutex_lock(&pool->lock);
        }
        hand_back(pool, job);
}

static void *worker(void *argument) {
        struct pool *pool = argument;

        (void)pthread_mutex_lock(&pool->lock);
        while (!pool->stopping) {
                if (pool->queue.first)
                        run_next(pool);
                else
                        (void)pthread_cond_wait(&pool->work, &pool->lock);
        }
        (void)pthread_mutex_unlock(&pool->lock);
        return NULL;
}

static int start_workers(struct pool *pool, unsigned workers, struct wla_error *err) {
        while (pool->workers < workers) {
                char name[THREAD_NAME_MAX + 1];

                (void)snprintf(name, sizeof(name), "worker-%u", pool->workers % 10000);
                if (thread_start(name, worker, pool, &pool->threads[pool->workers], err) < 0)
                        return -1;
                pool->workers++;
        }
        return 0;
}

int pool_new(unsigned workers, size_t queue_max, struct pool **ret, struct wla_error *err) {
        assert(workers > 0);

        struct pool *pool = calloc(1, sizeof(*pool) + workers * sizeof(pool->threads[0]));
        if (!pool)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        list_init(&pool->queue);
        list_init(&pool->back);
        pool->queue_max = queue_max;
        (void)pthread_mutex_init(&pool->lock, NULL);
        (void)pthread_cond_init(&pool->work, NULL);

        pool->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (pool->fd < 0)
                (void)wla_fail_errno(err, errno, "making an eventfd");
        if (pool->fd < 0 || start_workers(pool, workers, err) < 0) {
                (void)pool_free(pool);
                return -1;
        }

        *ret = pool;
        return 0;
}

static void join_workers(struct pool *pool) {
        (void)pthread_mutex_lock(&pool->lock);
        pool->stopping = true;
        (void)pthread_cond_broadcast(&pool->work);
        (void)pthread_mutex_unlock(&pool->lock);

        for (unsigned i = 0; i < pool->workers; i++)
                (void)pthread_join(pool->threads[i], NULL);
}

static void call_done(struct job_list *list) {
        while (list->first) {
                struct pool_job *job = list_pop(list);

                job->done(job, job->dropped);
        }
}

struct pool *pool_free(struct pool *pool) {
        if (!pool)
                return NULL;

        join_workers(pool);

        call_done(&pool->back);
        for (struct pool_job *job = pool->queue.first; job; job = job->next)
                job->dropped = true;
        call_done(&pool->queue);

        file_closep(&pool->fd);
        (void)pthread_cond_destroy(&pool->work);
        (void)pthread_mutex_destroy(&pool->lock);
        free(pool);
        return NULL;
}

/* Jobs that nobody waits for any more must not keep others out while the workers hang. */
static void drop_expired(struct pool *pool) {
        struct job_list queue = pool->queue;

        list_init(&pool->queue);
        while (queue.first) {
                struct pool_job *job = list_pop(&queue);

                if (!job_expired(job)) {
                        list_push(&pool->queue, job);
                        continue;
                }
                job->dropped = true;
                pool->queued--;
                hand_back(pool, job);
        }
}

int pool_submit(struct pool *pool, struct pool_job *job, struct wla_error *err) {
        bool accepted;

        job->dropped = false;

        (void)pthread_mutex_lock(&pool->lock);
        if (pool->queued >= pool->queue_max)
                drop_expired(pool);
        accepted = !pool->stopping && pool->queued < pool->queue_max;
        if (accepted) {
                list_push(&pool->queue, job);
                pool->queued++;
                (void)pthread_cond_signal(&pool->work);
        }
        (void)pthread_mutex_unlock(&pool->lock);

        if (accepted)
                return 0;
        if (pool->stopping)
                return wla_fail(err, WLA_E_UNAVAILABLE, "the agent is stopping");
        return wla_fail_hint(err, WLA_E_BUSY, hint_workers,
                             "%zu requests wait for a worker already", pool->queue_max);
}

bool pool_withdraw(struct pool *pool, struct pool_job *job) {
        (void)pthread_mutex_lock(&pool->lock);

        struct pool_job **at = &pool->queue.first;
        while (*at && *at != job)
                at = &(*at)->next;

        bool found = *at != NULL;
        if (found) {
                *at = (*at)->next;
                if (!*at)
                        pool->queue.end = at;
                pool->queued--;
        }
        (void)pthread_mutex_unlock(&pool->lock);
        return found;
}

int pool_fd(const struct pool *pool) {
        return pool->fd;
}

void pool_dispatch(struct pool *pool) {
        struct job_list back;
        uint64_t count;

        /* Read first: a job that comes back after this makes the descriptor readable again. */
        (void)!read(pool->fd, &count, sizeof(count));

        (void)pthread_mutex_lock(&pool->lock);
        back = pool->back;
        list_init(&pool->back);
        (void)pthread_mutex_unlock(&pool->lock);

        call_done(&back);
}

size_t pool_queued(struct pool *pool) {
        (void)pthread_mutex_lock(&pool->lock);
        size_t queued = pool->queued;
        (void)pthread_mutex_unlock(&pool->lock);

        return queued;
}
