/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/pool.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

#include "fail_allocation.h"
#include "suite.h"

#define CHECK_ERROR(err, expected_code, expected_text)                     \
        do {                                                               \
                ck_assert_int_eq((err).code, (expected_code));             \
                ck_assert_str_eq(wla_error_text(&(err)), (expected_text)); \
        } while (0)

/* A job that a test can hold at its start, and that counts what happens to it. */
struct probe {
        struct pool_job job;
        sem_t *started;
        sem_t *proceed;
        int runs;
        int done;
        bool dropped;
        pthread_t ran_on;
        size_t order;
};

static size_t done_count;

static void probe_run(struct pool_job *job) {
        struct probe *probe = (struct probe *)job;

        probe->runs++;
        probe->ran_on = pthread_self();
        if (probe->started)
                (void)sem_post(probe->started);
        if (probe->proceed)
                (void)sem_wait(probe->proceed);
}

static void probe_done(struct pool_job *job, bool dropped) {
        struct probe *probe = (struct probe *)job;

        probe->done++;
        probe->dropped = dropped;
        probe->order = done_count++;
}

static struct probe probe_with(const struct deadline *deadline) {
        return (struct probe){
                .job = {.run = probe_run, .done = probe_done, .deadline = deadline},
        };
}

static struct pool *make_pool(unsigned workers, size_t queue_max) {
        struct wla_error err = {0};
        struct pool *pool = NULL;

        ck_assert_int_eq(pool_new(workers, queue_max, &pool, &err), 0);
        return pool;
}

static void submit(struct pool *pool, struct probe *probe) {
        struct wla_error err = {0};

        ck_assert_msg(pool_submit(pool, &probe->job, &err) == 0, "%s", wla_error_text(&err));
}

static bool readable(struct pool *pool, int timeout_msec) {
        struct pollfd fd = {.fd = pool_fd(pool), .events = POLLIN};

        return poll(&fd, 1, timeout_msec) == 1;
}

static void dispatch_until(struct pool *pool, const size_t count) {
        while (done_count < count) {
                ck_assert(readable(pool, 10000));
                pool_dispatch(pool);
        }
}

START_TEST(runs_on_a_worker_and_comes_back_to_the_loop) {
        struct pool *pool = make_pool(2, 4);
        struct probe probe = probe_with(NULL);

        submit(pool, &probe);
        ck_assert(readable(pool, 10000));
        ck_assert_int_eq(probe.done, 0);
        pool_dispatch(pool);

        ck_assert_int_eq(probe.runs, 1);
        ck_assert_int_eq(probe.done, 1);
        ck_assert(!probe.dropped);
        ck_assert(!pthread_equal(probe.ran_on, pthread_self()));
        ck_assert(!readable(pool, 0));
        ck_assert_ptr_null(pool_free(pool));
}
END_TEST

START_TEST(thousands_of_jobs_come_back_once_each) {
        enum { COUNT = 20000, QUEUE = 64 };
        struct pool *pool = make_pool(4, QUEUE);
        struct probe *probes = calloc(COUNT, sizeof(*probes));
        struct wla_error err = {0};

        ck_assert_ptr_nonnull(probes);
        for (size_t i = 0; i < COUNT; i++) {
                probes[i] = probe_with(NULL);
                while (pool_submit(pool, &probes[i].job, &err) < 0) {
                        ck_assert_int_eq(err.code, WLA_E_BUSY);
                        ck_assert(readable(pool, 10000));
                        pool_dispatch(pool);
                }
        }
        dispatch_until(pool, COUNT);

        for (size_t i = 0; i < COUNT; i++) {
                ck_assert_int_eq(probes[i].runs, 1);
                ck_assert_int_eq(probes[i].done, 1);
        }
        ck_assert_uint_eq(pool_queued(pool), 0);
        (void)pool_free(pool);
        free(probes);
}
END_TEST

START_TEST(a_full_queue_refuses_and_says_so) {
        struct wla_error err = {0};
        struct pool *pool = make_pool(1, 2);
        sem_t started;
        sem_t proceed;
        struct probe held = probe_with(NULL);
        struct probe waiting[3] = {probe_with(NULL), probe_with(NULL), probe_with(NULL)};

        (void)sem_init(&started, 0, 0);
        (void)sem_init(&proceed, 0, 0);
        held.started = &started;
        held.proceed = &proceed;
        submit(pool, &held);
        (void)sem_wait(&started);

        submit(pool, &waiting[0]);
        submit(pool, &waiting[1]);
        ck_assert_uint_eq(pool_queued(pool), 2);
        ck_assert_int_eq(pool_submit(pool, &waiting[2].job, &err), -1);
        CHECK_ERROR(err, WLA_E_BUSY, "2 requests wait for a worker already");
        ck_assert_ptr_nonnull(err.hint);

        (void)sem_post(&proceed);
        dispatch_until(pool, 3);
        ck_assert_int_eq(waiting[2].done, 0);
        ck_assert_uint_eq(held.order, 0);
        ck_assert_uint_eq(waiting[0].order, 1);
        ck_assert_uint_eq(waiting[1].order, 2);
        (void)pool_free(pool);
}
END_TEST

START_TEST(a_passed_deadline_drops_the_job) {
        struct pool *pool = make_pool(1, 4);
        struct deadline passed;
        struct deadline ahead;

        deadline_init(&passed, 1);
        deadline_init(&ahead, clock_now_usec() + 60 * USEC_PER_SEC);

        struct probe late = probe_with(&passed);
        struct probe in_time = probe_with(&ahead);

        submit(pool, &late);
        submit(pool, &in_time);
        dispatch_until(pool, 2);
        ck_assert_int_eq(late.runs, 0);
        ck_assert(late.dropped);
        ck_assert_int_eq(in_time.runs, 1);
        ck_assert(!in_time.dropped);
        (void)pool_free(pool);
}
END_TEST

START_TEST(cancelled_jobs_make_room_while_the_workers_hang) {
        struct pool *pool = make_pool(1, 2);
        sem_t started;
        sem_t proceed;
        struct deadline deadlines[3];
        struct probe held = probe_with(NULL);
        struct probe waiting[3];

        (void)sem_init(&started, 0, 0);
        (void)sem_init(&proceed, 0, 0);
        held.started = &started;
        held.proceed = &proceed;
        submit(pool, &held);
        (void)sem_wait(&started);

        for (size_t i = 0; i < 3; i++) {
                deadline_init(&deadlines[i], clock_now_usec() + 60 * USEC_PER_SEC);
                waiting[i] = probe_with(&deadlines[i]);
        }
        submit(pool, &waiting[0]);
        submit(pool, &waiting[1]);
        deadline_cancel(&deadlines[0]);
        submit(pool, &waiting[2]);

        dispatch_until(pool, 1);
        ck_assert_int_eq(waiting[0].done, 1);
        ck_assert(waiting[0].dropped);

        (void)sem_post(&proceed);
        dispatch_until(pool, 4);
        ck_assert_int_eq(waiting[0].runs, 0);
        ck_assert_int_eq(waiting[1].runs, 1);
        ck_assert_int_eq(waiting[2].runs, 1);
        (void)pool_free(pool);
}
END_TEST

START_TEST(what_no_worker_has_begun_is_taken_back) {
        struct pool *pool = make_pool(1, 3);
        sem_t started;
        sem_t proceed;
        struct probe held = probe_with(NULL);
        struct probe waiting[3] = {probe_with(NULL), probe_with(NULL), probe_with(NULL)};
        struct probe later = probe_with(NULL);

        (void)sem_init(&started, 0, 0);
        (void)sem_init(&proceed, 0, 0);
        held.started = &started;
        held.proceed = &proceed;
        submit(pool, &held);
        (void)sem_wait(&started);
        ck_assert(!pool_withdraw(pool, &held.job));

        for (size_t i = 0; i < 3; i++)
                submit(pool, &waiting[i]);
        ck_assert(pool_withdraw(pool, &waiting[1].job));
        ck_assert(pool_withdraw(pool, &waiting[2].job));
        ck_assert(!pool_withdraw(pool, &waiting[2].job));
        ck_assert_uint_eq(pool_queued(pool), 1);
        submit(pool, &later);

        (void)sem_post(&proceed);
        dispatch_until(pool, 3);
        ck_assert(!pool_withdraw(pool, &later.job));
        ck_assert_int_eq(waiting[0].runs, 1);
        ck_assert_int_eq(waiting[1].runs + waiting[2].runs, 0);
        ck_assert_int_eq(waiting[1].done + waiting[2].done, 0);
        ck_assert_int_eq(later.runs, 1);
        (void)pool_free(pool);
}
END_TEST

static void *release_when_stopping(void *argument) {
        struct timespec moment = {.tv_nsec = 2000000};

        (void)nanosleep(&moment, NULL);
        (void)sem_post(argument);
        return NULL;
}

START_TEST(free_waits_for_the_running_and_drops_the_queued) {
        struct pool *pool = make_pool(1, 4);
        sem_t started;
        sem_t proceed;
        pthread_t releaser;
        struct probe held = probe_with(NULL);
        struct probe waiting[2] = {probe_with(NULL), probe_with(NULL)};

        (void)sem_init(&started, 0, 0);
        (void)sem_init(&proceed, 0, 0);
        held.started = &started;
        held.proceed = &proceed;
        submit(pool, &held);
        (void)sem_wait(&started);
        submit(pool, &waiting[0]);
        submit(pool, &waiting[1]);

        ck_assert_int_eq(pthread_create(&releaser, NULL, release_when_stopping, &proceed), 0);
        (void)pool_free(pool);
        (void)pthread_join(releaser, NULL);

        ck_assert_int_eq(held.runs, 1);
        ck_assert_int_eq(held.done, 1);
        ck_assert(!held.dropped);
        for (size_t i = 0; i < 2; i++) {
                ck_assert_int_eq(waiting[i].done, 1);
                ck_assert_int_eq(waiting[i].runs + waiting[i].dropped, 1);
        }
}
END_TEST

static void run_look_at_signals(struct pool_job *job) {
        struct probe *probe = (struct probe *)job;
        sigset_t blocked;

        (void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
        probe->runs = sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGHUP) &&
                      !sigismember(&blocked, SIGSEGV);
}

/* AddressSanitizer of clang 15 and later starts each thread with the signal mask of its creator. */
#if defined(__clang__) && __clang_major__ >= 15
#define MASK_IS_LOST __has_feature(address_sanitizer)
#else
#define MASK_IS_LOST false
#endif

START_TEST(workers_take_no_signals) {
        if (MASK_IS_LOST)
                return;

        struct pool *pool = make_pool(1, 1);
        struct probe probe = probe_with(NULL);

        probe.job.run = run_look_at_signals;
        submit(pool, &probe);
        dispatch_until(pool, 1);
        ck_assert_int_eq(probe.runs, 1);
        (void)pool_free(pool);
}
END_TEST

START_TEST(free_takes_null) {
        ck_assert_ptr_null(pool_free(NULL));
}
END_TEST

START_TEST(every_allocation_may_fail) {
        struct wla_error err = {0};

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct pool *pool = NULL;
                int r = pool_new(2, 1, &pool, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(r, fail_allocation_hit() ? -1 : 0);
                if (r < 0)
                        CHECK_ERROR(err, WLA_E_BUSY, "out of memory");
                (void)pool_free(pool);
        }
}
END_TEST

SUITE_MAIN("pool", runs_on_a_worker_and_comes_back_to_the_loop,
           thousands_of_jobs_come_back_once_each, a_full_queue_refuses_and_says_so,
           a_passed_deadline_drops_the_job, cancelled_jobs_make_room_while_the_workers_hang,
           what_no_worker_has_begun_is_taken_back, free_waits_for_the_running_and_drops_the_queued,
           workers_take_no_signals, free_takes_null, every_allocation_may_fail)
