/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/lane.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fail_allocation.h"
#include "suite.h"

#define CHECK_ERROR(err, expected_code, expected_text)                     \
        do {                                                               \
                ck_assert_int_eq((err).code, (expected_code));             \
                ck_assert_str_eq(wla_error_text(&(err)), (expected_text)); \
        } while (0)

/* What the lane owns in these tests: only its thread may touch it. */
struct device {
        pthread_t user;
        int uses;
};

struct probe {
        struct lane_job job;
        sem_t *started;
        sem_t *proceed;
        int result;
};

static atomic_int freed;

static void probe_run(struct lane_job *job, void *resource) {
        struct probe *probe = (struct probe *)job;
        struct device *device = resource;

        device->user = pthread_self();
        probe->result = ++device->uses;
        if (probe->started)
                (void)sem_post(probe->started);
        if (probe->proceed)
                (void)sem_wait(probe->proceed);
}

static void probe_free(struct lane_job *job) {
        free(job);
        atomic_fetch_add(&freed, 1);
}

static struct probe *probe_new(void) {
        struct probe *probe = calloc(1, sizeof(*probe));

        ck_assert_ptr_nonnull(probe);
        probe->job.run = probe_run;
        probe->job.free = probe_free;
        return probe;
}

static struct lane *make_lane(struct device *device, size_t queue_max) {
        struct wla_error err = {0};
        struct lane *lane = NULL;

        ck_assert_int_eq(lane_new("test", device, queue_max, &lane, &err), 0);
        return lane;
}

static int call(struct lane *lane, struct probe **probe, uint64_t timeout_usec,
                struct wla_error *err) {
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + timeout_usec);
        return lane_call(lane, (struct lane_job **)probe, &deadline, err);
}

/* A caller on a thread of its own. */
struct caller {
        pthread_t thread;
        struct lane *lane;
        struct probe *probe;
        struct deadline deadline;
        struct wla_error err;
        int result;
};

static void *caller_thread(void *argument) {
        struct caller *caller = argument;

        caller->result = lane_call(caller->lane, (struct lane_job **)&caller->probe,
                                   &caller->deadline, &caller->err);
        return NULL;
}

static void caller_start(struct caller *caller, struct lane *lane, struct probe *probe) {
        *caller = (struct caller){.lane = lane, .probe = probe};
        deadline_init(&caller->deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        ck_assert_int_eq(pthread_create(&caller->thread, NULL, caller_thread, caller), 0);
}

/* Occupies the lane until proceed is posted. */
struct hang {
        struct caller caller;
        sem_t started;
        sem_t proceed;
};

static void hang_start(struct hang *hang, struct lane *lane) {
        struct probe *probe = probe_new();

        (void)sem_init(&hang->started, 0, 0);
        (void)sem_init(&hang->proceed, 0, 0);
        probe->started = &hang->started;
        probe->proceed = &hang->proceed;
        caller_start(&hang->caller, lane, probe);
        (void)sem_wait(&hang->started);
}

static void hang_end(struct hang *hang) {
        (void)sem_post(&hang->proceed);
        (void)pthread_join(hang->caller.thread, NULL);
}

START_TEST(the_job_comes_back_to_its_caller) {
        struct wla_error err = {0};
        struct device device = {0};
        struct lane *lane = make_lane(&device, 1);
        struct probe *probe = probe_new();

        ck_assert_uint_eq(lane_busy_since_usec(lane), 0);
        ck_assert_int_eq(call(lane, &probe, 10 * USEC_PER_SEC, &err), 0);
        ck_assert_ptr_nonnull(probe);
        ck_assert_int_eq(probe->result, 1);
        ck_assert(!pthread_equal(device.user, pthread_self()));
        ck_assert_uint_eq(lane_busy_since_usec(lane), 0);

        free(probe);
        ck_assert_ptr_null(lane_free(lane));
        ck_assert_int_eq(atomic_load(&freed), 0);
}
END_TEST

START_TEST(a_hanging_job_does_not_hold_its_caller) {
        struct wla_error err = {0};
        struct device device = {0};
        struct lane *lane = make_lane(&device, 4);
        struct probe *probe = probe_new();
        sem_t started;
        sem_t proceed;

        (void)sem_init(&started, 0, 0);
        (void)sem_init(&proceed, 0, 0);
        probe->started = &started;
        probe->proceed = &proceed;

        uint64_t before_usec = clock_now_usec();
        ck_assert_int_eq(call(lane, &probe, 20 * USEC_PER_MSEC, &err), -1);
        CHECK_ERROR(err, WLA_E_TIMEOUT, "no answer from the test in time");
        ck_assert_ptr_null(probe);
        ck_assert_uint_ge(clock_now_usec() - before_usec, 20 * USEC_PER_MSEC);

        (void)sem_wait(&started);
        ck_assert_uint_ge(lane_busy_since_usec(lane), before_usec);
        ck_assert_int_eq(atomic_load(&freed), 0);

        struct probe *second = probe_new();
        ck_assert_int_eq(call(lane, &second, 5 * USEC_PER_MSEC, &err), -1);
        CHECK_ERROR(err, WLA_E_TIMEOUT, "timed out while the test was busy");
        ck_assert_ptr_null(second);
        ck_assert_int_eq(atomic_load(&freed), 1);

        (void)sem_post(&proceed);
        (void)lane_free(lane);
        ck_assert_int_eq(atomic_load(&freed), 2);
        ck_assert_int_eq(device.uses, 1);
}
END_TEST

START_TEST(the_lane_works_on_after_a_hang) {
        struct wla_error err = {0};
        struct device device = {0};
        struct lane *lane = make_lane(&device, 4);
        struct hang hang;
        struct probe *probe = probe_new();

        hang_start(&hang, lane);
        hang_end(&hang);
        ck_assert_int_eq(hang.caller.result, 0);
        ck_assert_int_eq(call(lane, &probe, 10 * USEC_PER_SEC, &err), 0);
        ck_assert_int_eq(probe->result, 2);

        free(hang.caller.probe);
        free(probe);
        (void)lane_free(lane);
}
END_TEST

START_TEST(a_cancelled_caller_leaves_at_once) {
        struct device device = {0};
        struct lane *lane = make_lane(&device, 4);
        struct hang hang;
        struct caller queued;

        hang_start(&hang, lane);
        caller_start(&queued, lane, probe_new());
        deadline_cancel(&queued.deadline);
        (void)pthread_join(queued.thread, NULL);
        ck_assert_int_eq(queued.result, -1);
        CHECK_ERROR(queued.err, WLA_E_TIMEOUT, "nobody waits for the answer any more");
        ck_assert_ptr_null(queued.probe);
        ck_assert_int_eq(atomic_load(&freed), 1);

        deadline_cancel(&hang.caller.deadline);
        (void)pthread_join(hang.caller.thread, NULL);
        ck_assert_int_eq(hang.caller.result, -1);
        ck_assert_ptr_null(hang.caller.probe);

        (void)sem_post(&hang.proceed);
        (void)lane_free(lane);
        ck_assert_int_eq(atomic_load(&freed), 2);
        ck_assert_int_eq(device.uses, 1);
}
END_TEST

START_TEST(a_full_queue_refuses_and_frees) {
        struct wla_error err = {0};
        struct device device = {0};
        struct lane *lane = make_lane(&device, 0);
        struct probe *probe = probe_new();

        ck_assert_int_eq(call(lane, &probe, 10 * USEC_PER_SEC, &err), -1);
        CHECK_ERROR(err, WLA_E_BUSY, "0 requests wait for the test already");
        ck_assert_ptr_null(probe);
        ck_assert_int_eq(atomic_load(&freed), 1);
        (void)lane_free(lane);
}
END_TEST

START_TEST(a_passed_deadline_runs_nothing) {
        struct wla_error err = {0};
        struct device device = {0};
        struct lane *lane = make_lane(&device, 4);
        struct hang hang;
        struct deadline passed;
        struct probe *probe = probe_new();

        hang_start(&hang, lane);
        deadline_init(&passed, 1);
        ck_assert_int_eq(lane_call(lane, (struct lane_job **)&probe, &passed, &err), -1);
        CHECK_ERROR(err, WLA_E_TIMEOUT, "timed out while the test was busy");
        ck_assert_ptr_null(probe);
        hang_end(&hang);
        free(hang.caller.probe);
        (void)lane_free(lane);
        ck_assert_int_eq(device.uses, 1);
}
END_TEST

/* Returns once the queue is full. */
static void wait_until_full(struct lane *lane) {
        struct wla_error err = {0};
        struct deadline passed;

        deadline_init(&passed, 1);
        do {
                struct probe *probe = probe_new();

                ck_assert_int_eq(lane_call(lane, (struct lane_job **)&probe, &passed, &err), -1);
        } while (err.code != WLA_E_BUSY);
        atomic_store(&freed, 0);
}

START_TEST(free_runs_what_is_queued) {
        enum { CALLERS = 8 };
        struct device device = {0};
        struct lane *lane = make_lane(&device, CALLERS);
        struct hang hang;
        struct caller callers[CALLERS];

        hang_start(&hang, lane);
        for (size_t i = 0; i < CALLERS; i++)
                caller_start(&callers[i], lane, probe_new());
        wait_until_full(lane);
        (void)sem_post(&hang.proceed);
        (void)lane_free(lane);

        (void)pthread_join(hang.caller.thread, NULL);
        free(hang.caller.probe);
        for (size_t i = 0; i < CALLERS; i++) {
                (void)pthread_join(callers[i].thread, NULL);
                ck_assert_int_eq(callers[i].result, 0);
                free(callers[i].probe);
        }
        ck_assert_int_eq(atomic_load(&freed), 0);
        ck_assert_int_eq(device.uses, CALLERS + 1);
}
END_TEST

START_TEST(patient_jobs_let_others_go_first) {
        enum { PATIENT = 8 };
        struct device device = {0};
        struct lane *lane = make_lane(&device, PATIENT + 2);
        struct hang hang;
        struct caller callers[PATIENT + 2];

        hang_start(&hang, lane);
        for (size_t i = 0; i < PATIENT + 2; i++) {
                struct probe *probe = probe_new();

                probe->job.patient = i < PATIENT;
                caller_start(&callers[i], lane, probe);
        }
        wait_until_full(lane);
        hang_end(&hang);
        free(hang.caller.probe);
        for (size_t i = 0; i < PATIENT + 2; i++) {
                (void)pthread_join(callers[i].thread, NULL);
                ck_assert_int_eq(callers[i].result, 0);
                /* The hanging one was the first. */
                ck_assert_int_eq(callers[i].probe->result > 3, i < PATIENT);
                free(callers[i].probe);
        }
        (void)lane_free(lane);
}
END_TEST

static void *many_calls(void *argument) {
        struct lane *lane = argument;
        struct wla_error err = {0};

        for (size_t i = 0; i < 2000; i++) {
                struct probe *probe = probe_new();

                if (call(lane, &probe, i % 7 == 0 ? 1 : 10 * USEC_PER_SEC, &err) == 0)
                        free(probe);
        }
        return NULL;
}

START_TEST(thousands_of_calls_from_many_threads) {
        enum { CALLERS = 6 };
        struct device device = {0};
        struct lane *lane = make_lane(&device, CALLERS);
        pthread_t threads[CALLERS];

        for (size_t i = 0; i < CALLERS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, many_calls, lane), 0);
        for (size_t i = 0; i < CALLERS; i++)
                (void)pthread_join(threads[i], NULL);

        (void)lane_free(lane);
        ck_assert_int_ge(device.uses, CALLERS * 2000 * 6 / 7 - CALLERS);
        ck_assert_int_le(device.uses + atomic_load(&freed), 2 * CALLERS * 2000);
}
END_TEST

/* One that waits for the device, and has the next one prepare itself when it is told to. */
struct waiter {
        struct lane_job job;
        struct lane *lane;
        sem_t started;
        sem_t prepare;
        sem_t prepared;
        sem_t proceed;
};

static void waiter_run(struct lane_job *job, void *resource) {
        struct waiter *waiter = (struct waiter *)job;

        (void)resource;
        (void)sem_post(&waiter->started);
        (void)sem_wait(&waiter->prepare);
        lane_prepare_next(waiter->lane);
        lane_prepare_next(waiter->lane);
        (void)sem_post(&waiter->prepared);
        (void)sem_wait(&waiter->proceed);
}

static void waiter_free(struct lane_job *job) {
        (void)job;
}

static void waiter_start(struct waiter *waiter, struct caller *caller, struct lane *lane) {
        *waiter = (struct waiter){.job = {.run = waiter_run, .free = waiter_free}, .lane = lane};
        (void)sem_init(&waiter->started, 0, 0);
        (void)sem_init(&waiter->prepare, 0, 0);
        (void)sem_init(&waiter->prepared, 0, 0);
        (void)sem_init(&waiter->proceed, 0, 0);
        *caller = (struct caller){.lane = lane, .probe = (struct probe *)(void *)&waiter->job};
        deadline_init(&caller->deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        ck_assert_int_eq(pthread_create(&caller->thread, NULL, caller_thread, caller), 0);
        (void)sem_wait(&waiter->started);
}

static void waiter_prepare(struct waiter *waiter) {
        (void)sem_post(&waiter->prepare);
        (void)sem_wait(&waiter->prepared);
}

static void waiter_end(struct waiter *waiter, struct caller *caller) {
        (void)sem_post(&waiter->proceed);
        (void)pthread_join(caller->thread, NULL);
        ck_assert_int_eq(caller->result, 0);
}

static atomic_int prepared;

static void probe_prepare(struct lane_job *job, void *resource) {
        struct device *device = resource;

        ck_assert_int_eq(((struct probe *)job)->result, 0);
        ck_assert_int_eq(device->uses, 0);
        prepared++;
}

/* One, which then is next. */
START_TEST(the_next_prepares_itself) {
        enum { CALLERS = 4 };
        struct device device = {0};
        struct lane *lane = make_lane(&device, CALLERS);
        struct caller callers[CALLERS];
        struct waiter waiter;
        struct caller first;

        waiter_start(&waiter, &first, lane);
        for (size_t i = 0; i < CALLERS; i++) {
                struct probe *probe = probe_new();

                probe->job.prepare = probe_prepare;
                caller_start(&callers[i], lane, probe);
        }
        wait_until_full(lane);
        waiter_prepare(&waiter);
        ck_assert_int_eq(prepared, 1);
        waiter_end(&waiter, &first);
        for (size_t i = 0; i < CALLERS; i++) {
                (void)pthread_join(callers[i].thread, NULL);
                ck_assert_int_eq(callers[i].result, 0);
                free(callers[i].probe);
        }
        ck_assert_int_eq(prepared, 1);
        ck_assert_int_eq(device.uses, CALLERS);
        (void)lane_free(lane);
}
END_TEST

START_TEST(nothing_to_prepare) {
        struct device device = {0};
        struct lane *lane = make_lane(&device, 1);
        struct caller caller;
        struct waiter waiter;
        struct caller first;

        waiter_start(&waiter, &first, lane);
        waiter_prepare(&waiter); /* nobody is there */
        waiter_end(&waiter, &first);
        waiter_start(&waiter, &first, lane);
        caller_start(&caller, lane, probe_new());
        wait_until_full(lane);
        waiter_prepare(&waiter); /* it has no prepare */
        wait_until_full(lane);
        waiter_end(&waiter, &first);
        (void)pthread_join(caller.thread, NULL);
        ck_assert_int_eq(caller.result, 0);
        free(caller.probe);
        (void)lane_free(lane);
}
END_TEST

/* It hears what others in the queue hear, and its job is run and freed. */
static void leave_what_is_next(uint64_t at_usec, const char *text) {
        struct device device = {0};
        struct lane *lane = make_lane(&device, 1);
        struct probe *probe = probe_new();
        struct caller caller;
        struct waiter waiter;
        struct caller first;

        waiter_start(&waiter, &first, lane);
        probe->job.prepare = probe_prepare;
        caller = (struct caller){.lane = lane, .probe = probe};
        deadline_init(&caller.deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        ck_assert_int_eq(pthread_create(&caller.thread, NULL, caller_thread, &caller), 0);
        wait_until_full(lane);
        waiter_prepare(&waiter);
        ck_assert_int_eq(prepared, 1);
        atomic_store(&caller.deadline.at_usec, at_usec);
        (void)pthread_join(caller.thread, NULL);
        ck_assert_int_eq(caller.result, -1);
        CHECK_ERROR(caller.err, WLA_E_TIMEOUT, text);
        ck_assert_ptr_null(caller.probe);
        ck_assert_int_eq(atomic_load(&freed), 0);
        waiter_end(&waiter, &first);
        (void)lane_free(lane);
        ck_assert_int_eq(atomic_load(&freed), 1);
        ck_assert_int_eq(device.uses, 1);
}

START_TEST(what_is_next_is_cancelled) {
        leave_what_is_next(0, "nobody waits for the answer any more");
}
END_TEST

START_TEST(what_is_next_has_no_time_left) {
        leave_what_is_next(1, "timed out while the test was busy");
}
END_TEST

START_TEST(free_takes_null) {
        ck_assert_ptr_null(lane_free(NULL));
}
END_TEST

START_TEST(every_allocation_may_fail) {
        struct wla_error err = {0};
        struct device device = {0};

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct lane *lane = NULL;
                int r = lane_new("test", &device, 1, &lane, &err);

                fail_allocation_disarm();
                ck_assert_int_eq(r, fail_allocation_hit() ? -1 : 0);
                if (r < 0)
                        CHECK_ERROR(err, WLA_E_BUSY, "out of memory");
                (void)lane_free(lane);
        }
}
END_TEST

SUITE_MAIN("lane", the_job_comes_back_to_its_caller, a_hanging_job_does_not_hold_its_caller,
           the_lane_works_on_after_a_hang, a_cancelled_caller_leaves_at_once,
           a_full_queue_refuses_and_frees, a_passed_deadline_runs_nothing, free_runs_what_is_queued,
           patient_jobs_let_others_go_first, thousands_of_calls_from_many_threads,
           the_next_prepares_itself, nothing_to_prepare, what_is_next_is_cancelled,
           what_is_next_has_no_time_left, free_takes_null, every_allocation_may_fail)
