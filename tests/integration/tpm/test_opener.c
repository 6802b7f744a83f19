/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host.h"
#include "tests.h"
#include "tpm/bind_opener.h"

#define WORKERS 8

struct setting {
        struct host host;
        struct envelope envelope;
        struct lane *lane;
        struct key_opener opener;
};

/* Keeps the lane busy until the mutex is free. */
struct gate_job {
        struct lane_job job; /* first: the lane hands it back */
        struct lane *lane;
        pthread_mutex_t *mutex;
};

/* Jobs that were tried. */
static _Atomic unsigned unbinds;

/* While it is locked no job ends, whatever the TPM does. */
static pthread_mutex_t end_of_jobs = PTHREAD_MUTEX_INITIALIZER;

int __real_tpm_unbind(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint,
                      const struct deadline *deadline, struct wla_secret **ret,
                      struct wla_error *err);
int __wrap_tpm_unbind(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint,
                      const struct deadline *deadline, struct wla_secret **ret,
                      struct wla_error *err);

int __wrap_tpm_unbind(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint,
                      const struct deadline *deadline, struct wla_secret **ret,
                      struct wla_error *err) {
        atomic_fetch_add(&unbinds, 1);
        int outcome = __real_tpm_unbind(tpm, wrapped, fingerprint, deadline, ret, err);
        (void)pthread_mutex_lock(&end_of_jobs);
        (void)pthread_mutex_unlock(&end_of_jobs);
        return outcome;
}

struct shared_wait {
        struct setting *setting;
        struct deadline deadline;
        struct wla_secret *opened;
        struct wla_error err;
        int result;
};

static void begin(struct setting *setting) {
        *setting = (struct setting){0};
        host_begin(&setting->host);
        host_setup(&setting->host, 0, 0);
        host_wrap(&setting->host, KEY, &setting->envelope.bytes);
}

static void open_lane(struct setting *setting) {
        ck_assert_int_eq(lane_new("tpm", setting->host.tpm, 64, &setting->lane, &setting->host.err),
                         0);
        setting->opener = bind_opener(setting->lane);
}

static void end(struct setting *setting) {
        setting->lane = lane_free(setting->lane);
        envelope_clear(&setting->envelope);
        host_end(&setting->host);
}

static int open_within(struct setting *setting, uint64_t usec, struct wla_secret **ret,
                       struct wla_error *err) {
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + usec);
        return setting->opener.ops->open(setting->opener.self, &setting->envelope, &deadline, ret,
                                         err);
}

static void *open_some(void *arg) {
        for (int i = 0; i < 4; i++) {
                _cleanup_secret_ struct wla_secret *opened = NULL;
                struct wla_error err = {0};

                if (open_within(arg, 60 * USEC_PER_SEC, &opened, &err) < 0)
                        return arg;
                struct wla_bytes plain = wla_secret_view(opened);
                if (plain.size != strlen(KEY) || memcmp(plain.data, KEY, plain.size) != 0)
                        return arg;
        }
        return NULL;
}

START_TEST(many_workers_share_the_tpm) {
        struct setting setting;
        pthread_t threads[WORKERS];

        begin(&setting);
        open_lane(&setting);
        for (size_t i = 0; i < WORKERS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, open_some, &setting), 0);
        for (size_t i = 0; i < WORKERS; i++) {
                void *result = NULL;

                ck_assert_int_eq(pthread_join(threads[i], &result), 0);
                ck_assert_ptr_null(result);
        }
        end(&setting);
}
END_TEST

START_TEST(errors_come_back_whole) {
        struct setting setting;
        struct wla_secret *opened = NULL;
        struct wla_error err = {0};

        begin(&setting);
        open_lane(&setting);
        setting.envelope.bytes.data[7] ^= 1;
        ck_assert_int_eq(open_within(&setting, 10 * USEC_PER_SEC, &opened, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "the TPM cannot open it"));
        ck_assert_ptr_nonnull(err.hint);

        memset(setting.envelope.binding_key, 'a', KEY_FINGERPRINT_SIZE - 1);
        ck_assert_int_eq(open_within(&setting, 10 * USEC_PER_SEC, &opened, &err), -1);
        ck_assert_ptr_nonnull(strstr(wla_error_text(&err), "wrapped for the binding key aaaa"));

        setting.envelope.bytes.size = 255;
        ck_assert_int_eq(open_within(&setting, 10 * USEC_PER_SEC, &opened, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_INPUT);
        end(&setting);
}
END_TEST

/* The job ends only when its caller has gone: one who waited for it would wait until the test's time is over, and no clock
 * has to tell. */
START_TEST(a_caller_does_not_wait_for_a_tpm_that_hangs) {
        struct setting setting;
        struct wla_secret *opened = NULL;
        struct wla_error err = {0};

        begin(&setting);
        host_behind_proxy(&setting.host, (const char *const[]){"0x159:1:hang", NULL});
        setting.host.tpm->answer_limit_msec = 2000;
        open_lane(&setting);

        (void)pthread_mutex_lock(&end_of_jobs);
        ck_assert_int_eq(open_within(&setting, 100 * USEC_PER_MSEC, &opened, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        (void)pthread_mutex_unlock(&end_of_jobs);

        /* The lane gets over it by itself; the abandoned job is wiped. */
        opened = NULL;
        ck_assert_int_eq(open_within(&setting, 60 * USEC_PER_SEC, &opened, &err), 0);
        opened = wla_secret_free(opened);
        end(&setting);
}
END_TEST

static void block(struct lane_job *job, void *resource) {
        struct gate_job *gate = (struct gate_job *)job;

        (void)resource;
        (void)pthread_mutex_lock(gate->mutex);
        (void)pthread_mutex_unlock(gate->mutex);
}

static void free_gate(struct lane_job *job) {
        free(job);
}

static void *hold_the_lane(void *arg) {
        struct gate_job *gate = arg;
        struct lane_job *job = &gate->job;
        struct wla_error err = {0};
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + 60 * USEC_PER_SEC);
        if (lane_call(gate->lane, &job, &deadline, &err) == 0)
                job->free(job);
        return NULL;
}

static void *open_with_shared_deadline(void *arg) {
        struct shared_wait *wait = arg;

        wait->result = wait->setting->opener.ops->open(wait->setting->opener.self,
                                                       &wait->setting->envelope, &wait->deadline,
                                                       &wait->opened, &wait->err);
        return NULL;
}

static void wait_until(uint64_t at_usec) {
        while (clock_now_usec() < at_usec) {
                const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

                (void)nanosleep(&pause, NULL);
        }
}

static void take_the_lane(struct setting *setting, pthread_mutex_t *mutex, pthread_t *holder) {
        struct gate_job *gate = calloc(1, sizeof(*gate));

        ck_assert_ptr_nonnull(gate);
        *gate = (struct gate_job){
                .job = {.run = block, .free = free_gate}, .lane = setting->lane, .mutex = mutex};
        (void)pthread_mutex_lock(mutex);
        ck_assert_int_eq(pthread_create(holder, NULL, hold_the_lane, gate), 0);
        while (lane_busy_since_usec(setting->lane) == 0)
                wait_until(clock_now_usec() + USEC_PER_MSEC);
}

/* The lane is busy until the first deadline has passed, and by then it has been moved.  Whether that came about: on a busy
 * machine this thread may move it too late, or the other look at it only then. */
static bool deadline_moves(struct setting *setting, uint64_t usec) {
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        struct shared_wait wait = {.setting = setting};
        pthread_t holder;
        pthread_t opener;

        take_the_lane(setting, &mutex, &holder);
        atomic_store(&unbinds, 0);
        uint64_t first_usec = clock_now_usec() + usec;
        deadline_init(&wait.deadline, first_usec);
        ck_assert_int_eq(pthread_create(&opener, NULL, open_with_shared_deadline, &wait), 0);
        wait_until(first_usec - usec / 2);
        deadline_extend(&wait.deadline, first_usec + 200 * USEC_PER_SEC);
        bool in_time = clock_now_usec() < first_usec;
        wait_until(first_usec);
        (void)pthread_mutex_unlock(&mutex);

        ck_assert_int_eq(pthread_join(opener, NULL), 0);
        ck_assert_int_eq(pthread_join(holder, NULL), 0);
        ck_assert_msg(!in_time || wait.result == 0, "%s", wla_error_text(&wait.err));
        wait.opened = wla_secret_free(wait.opened);
        return in_time && atomic_load(&unbinds) == 2;
}

/* A second request joins one that had less time: the time of the later one counts. */
START_TEST(a_deadline_that_moves_while_the_tpm_is_busy) {
        uint64_t usec = 50 * USEC_PER_MSEC;
        struct setting setting;

        begin(&setting);
        open_lane(&setting);
        while (!deadline_moves(&setting, usec)) {
                usec *= 2;
                ck_assert_uint_lt(usec, 60 * USEC_PER_SEC);
        }
        end(&setting);
}
END_TEST

void add_opener_tests(TCase *tcase) {
        tcase_add_test(tcase, many_workers_share_the_tpm);
        tcase_add_test(tcase, errors_come_back_whole);
        tcase_add_test(tcase, a_caller_does_not_wait_for_a_tpm_that_hangs);
        tcase_add_test(tcase, a_deadline_that_moves_while_the_tpm_is_busy);
}
