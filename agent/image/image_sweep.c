/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image_sweep.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/file.h"
#include "image/disk_source.h"

#define WORKERS_MAX    8u
#define MEMORY_MAX     (15u * 1024u * 1024u) /* of all workers */
#define STACK_SIZE     (128u * 1024u)
#define HUGE_PAGE      (2u * 1024u * 1024u)
#define SHOW_EVERY_SEC 0
#define SHOW_EVERY_NS  (200 * 1000 * 1000)

struct sweep_state {
        const struct image_sweep *sweep;
        uint64_t steps;
        _Atomic uint64_t next;
        _Atomic uint64_t done; /* bytes */

        pthread_mutex_t mutex;
        pthread_cond_t changed;
        size_t running;
        bool failed;
        struct wla_error err; /* when failed */
};

struct sweep_worker {
        struct sweep_state *state;
        void *self;
        uint8_t *buffer;
        pthread_t thread;
};

static void fail_all(struct sweep_state *state, const struct wla_error *err) {
        atomic_store(&state->next, state->steps);
        (void)pthread_mutex_lock(&state->mutex);
        if (!state->failed)
                state->err = *err;
        state->failed = true;
        (void)pthread_mutex_unlock(&state->mutex);
}

static void *work(void *userdata) {
        struct sweep_worker *worker = userdata;
        struct sweep_state *state = worker->state;
        const struct image_sweep *sweep = state->sweep;
        struct wla_error err = {0};

        for (;;) {
                uint64_t number = atomic_fetch_add(&state->next, 1);
                if (number >= state->steps)
                        break;

                uint64_t left = sweep->size - number * IMAGE_STEP_SIZE;
                size_t size = left < IMAGE_STEP_SIZE ? (size_t)left : IMAGE_STEP_SIZE;
                if (sweep->ops->step(worker->self, number, worker->buffer, size, &err) < 0) {
                        fail_all(state, &err);
                        break;
                }
                atomic_fetch_add(&state->done, size);
        }

        (void)pthread_mutex_lock(&state->mutex);
        state->running--;
        (void)pthread_cond_signal(&state->changed);
        (void)pthread_mutex_unlock(&state->mutex);
        return NULL;
}

static size_t count_workers(const struct image_sweep *sweep, uint64_t steps) {
        cpu_set_t processors;
        size_t count = 2;
        size_t room = MEMORY_MAX / (IMAGE_STEP_SIZE + sweep->worker_memory);

        if (sched_getaffinity(0, sizeof(processors), &processors) == 0)
                count = 2 * (size_t)CPU_COUNT(&processors);
        if (count > WORKERS_MAX)
                count = WORKERS_MAX;
        if (count > room)
                count = room > 0 ? room : 1;
        return count < steps ? count : (size_t)steps;
}

static void show(const struct sweep_state *state) {
        const struct image_progress *progress = state->sweep->progress;

        if (progress && progress->show)
                progress->show(progress->userdata, atomic_load(&state->done), state->sweep->size);
}

static void wait_for_all(struct sweep_state *state) {
        (void)pthread_mutex_lock(&state->mutex);
        while (state->running > 0) {
                struct timespec until;

                (void)clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_sec += SHOW_EVERY_SEC + (until.tv_nsec + SHOW_EVERY_NS) / 1000000000;
                until.tv_nsec = (until.tv_nsec + SHOW_EVERY_NS) % 1000000000;
                (void)pthread_cond_timedwait(&state->changed, &state->mutex, &until);
                show(state);
        }
        (void)pthread_mutex_unlock(&state->mutex);
}

/* In huge pages where the kernel has some: for direct I/O it pins every page. */
static uint8_t *allocate_buffers(size_t count) {
        size_t size = (count * IMAGE_STEP_SIZE + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        uint8_t *buffers = aligned_alloc(HUGE_PAGE, size);

        if (buffers)
                (void)madvise(buffers, size, MADV_HUGEPAGE);
        return buffers;
}

static int begin_worker(struct sweep_state *state, struct sweep_worker *worker, uint8_t *buffer,
                        struct wla_error *err) {
        *worker = (struct sweep_worker){.state = state, .buffer = buffer};
        return state->sweep->ops->begin(state->sweep->self, &worker->self, err);
}

static void end_worker(struct sweep_worker *worker) {
        worker->state->sweep->ops->end(worker->state->sweep->self, worker->self);
}

static int start_thread(struct sweep_worker *worker, struct wla_error *err) {
        pthread_attr_t attributes;
        int outcome = pthread_attr_init(&attributes);

        if (outcome == 0) {
                (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
                outcome = pthread_create(&worker->thread, &attributes, work, worker);
                (void)pthread_attr_destroy(&attributes);
        }
        return outcome == 0 ? 0 : wla_fail_errno(err, outcome, "cannot start a thread");
}

/* Signals are the calling thread's. */
static void run_workers(struct sweep_state *state, struct sweep_worker *workers, size_t count) {
        size_t started = 0;
        struct wla_error err = {0};
        sigset_t all;
        sigset_t before;

        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_BLOCK, &all, &before);
        state->running = count;
        while (started < count && start_thread(&workers[started], &err) == 0)
                started++;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);

        if (started < count) {
                fail_all(state, &err);
                (void)pthread_mutex_lock(&state->mutex);
                state->running -= count - started;
                (void)pthread_mutex_unlock(&state->mutex);
        }
        wait_for_all(state);
        for (size_t i = 0; i < started; i++)
                (void)pthread_join(workers[i].thread, NULL);
        show(state); /* the end too, when it came before the first wait */
}

static int init_state(struct sweep_state *state, struct wla_error *err) {
        pthread_condattr_t attributes;
        int outcome = pthread_condattr_init(&attributes);

        if (outcome == 0) {
                (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
                outcome = pthread_cond_init(&state->changed, &attributes);
                (void)pthread_condattr_destroy(&attributes);
        }
        if (outcome != 0)
                return wla_fail_errno(err, outcome, "cannot make a condition variable");
        (void)pthread_mutex_init(&state->mutex, NULL);
        return 0;
}

int image_sweep_run(const struct image_sweep *sweep, struct wla_error *err) {
        struct sweep_state state = {
                .sweep = sweep,
                .steps = (sweep->size + IMAGE_STEP_SIZE - 1) / IMAGE_STEP_SIZE,
        };
        struct sweep_worker workers[WORKERS_MAX];
        size_t count = count_workers(sweep, state.steps);
        _cleanup_free_ uint8_t *buffers = allocate_buffers(count);
        size_t begun = 0;

        if (!buffers)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (init_state(&state, err) < 0)
                return -1;
        while (begun < count &&
               begin_worker(&state, &workers[begun], buffers + begun * IMAGE_STEP_SIZE, err) == 0)
                begun++;
        if (begun == count)
                run_workers(&state, workers, count);
        for (size_t i = 0; i < begun; i++)
                end_worker(&workers[i]);
        (void)pthread_cond_destroy(&state.changed);
        (void)pthread_mutex_destroy(&state.mutex);

        if (begun < count)
                return -1;
        if (state.failed) {
                *err = state.err;
                return -1;
        }
        return 0;
}
