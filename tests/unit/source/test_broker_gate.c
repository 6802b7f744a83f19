/* SPDX-License-Identifier: Apache-2.0 */
#include "source/broker_gate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "suite.h"
#include "tls_broker.h"

#define THREADS   16u
#define DRAWS_MAX 64u

static const char *const no_headers[] = {NULL};

/* What the service does, and has seen. */
static struct {
        _Atomic unsigned status;
        _Atomic bool silent;
        _Atomic bool looks_wait;
        _Atomic unsigned looks;
        _Atomic unsigned looking;
        _Atomic unsigned looking_most;
        _Atomic unsigned asked;
} plan;

/* What the gate has drawn, and what it is to be given; 0: what chance gives. */
static struct {
        uint64_t usec;
        unsigned count;
        uint64_t least_usec[DRAWS_MAX];
        uint64_t most_usec[DRAWS_MAX];
} draws;

uint64_t __real_jitter_usec(uint64_t least_usec, uint64_t most_usec);
uint64_t __wrap_jitter_usec(uint64_t least_usec, uint64_t most_usec);

uint64_t __wrap_jitter_usec(uint64_t least_usec, uint64_t most_usec) {
        draws.least_usec[draws.count % DRAWS_MAX] = least_usec;
        draws.most_usec[draws.count++ % DRAWS_MAX] = most_usec;
        return draws.usec ? draws.usec : __real_jitter_usec(least_usec, most_usec);
}

static bool answer_look(SSL *tls) {
        char answer[128];

        plan.looks++;
        if (++plan.looking > plan.looking_most)
                plan.looking_most = plan.looking;
        do
                (void)usleep(20 * 1000);
        while (plan.looks_wait);
        plan.looking--;
        int size = snprintf(answer, sizeof(answer), "HTTP/1.1 %u x\r\nContent-Length: 0\r\n\r\n",
                            plan.status);
        return SSL_write(tls, answer, size) > 0;
}

static bool answer(struct broker *broker, SSL *tls, const char *request) {
        char text[128];

        (void)broker;
        while (plan.silent)
                (void)usleep(10 * 1000);
        if (strncmp(request, "GET /wls/v1/version ", 20) == 0)
                return answer_look(tls);
        plan.asked++;
        int size = snprintf(text, sizeof(text), "HTTP/1.1 %u x\r\nContent-Length: 2\r\n\r\nok",
                            plan.status);
        return SSL_write(tls, text, size) > 0;
}

struct place {
        struct scratch trust;
        struct broker *broker;
        struct http_client *http;
        struct broker_gate *gate;
        char url[128];
};

static struct place make_place(void) {
        const struct broker_options options = {.answer = answer};
        struct place place = {.broker = broker_start(&options)};
        struct wla_error err = {0};

        plan.status = 200;
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        scratch_make(&place.trust);
        FILE *file = fopen(scratch_file(&place.trust, "root.pem"), "we");
        ck_assert_int_ge(fputs(place.broker->root_pem, file), 0);
        ck_assert_int_eq(fclose(file), 0);

        const struct http_settings settings = {.trust_directory = place.trust.path};
        ck_assert_int_eq(http_client_new(&settings, &place.http, &err), 0);
        (void)snprintf(place.url, sizeof(place.url), "%s/wls/v1", place.broker->url);
        ck_assert_int_eq(broker_gate_new(place.http, "WLS", place.url, &place.gate, &err), 0);
        return place;
}

static void end_place(struct place *place) {
        plan.silent = false;
        broker_gate_free(place->gate);
        http_client_free(place->http);
        broker_stop(place->broker);
        scratch_remove(&place->trust);
}

static int ask(const struct place *place, uint64_t timeout_usec, struct wla_error *err) {
        _cleanup_answer_ struct http_answer got = {0};
        struct deadline deadline;
        const struct http_request request = {
                .method = "GET",
                .url = place->url,
                .headers = no_headers,
                .answer_max = 100,
                .deadline = &deadline,
        };

        *err = (struct wla_error){0};
        deadline_init(&deadline, clock_now_usec() + timeout_usec);
        return broker_gate_ask(place->gate, &request, &got, err);
}

static int pass(const struct place *place, uint64_t timeout_usec, struct wla_error *err) {
        struct deadline deadline;

        *err = (struct wla_error){0};
        deadline_init(&deadline, clock_now_usec() + timeout_usec);
        return broker_gate_pass(place->gate, &deadline, err);
}

static void expect_text(const struct place *place, const struct wla_error *err) {
        char start[200];

        (void)snprintf(start, sizeof(start), "WLS %s has been out of reach since 20", place->url);
        ck_assert_int_eq(err->code, WLA_E_UNAVAILABLE);
        ck_assert_msg(strncmp(wla_error_text(err), start, strlen(start)) == 0, "%s",
                      wla_error_text(err));
        ck_assert_ptr_nonnull(strstr(wla_error_text(err), " UTC: "));
}

START_TEST(open_as_long_as_it_answers) {
        struct place place = make_place();
        struct wla_error err;

        plan.status = 500;
        ck_assert_int_eq(pass(&place, 0, &err), 0);
        ck_assert_int_eq(ask(&place, 30 * USEC_PER_SEC, &err), 0);
        ck_assert_int_eq(pass(&place, 0, &err), 0);
        ck_assert(!broker_gate_closed(place.gate, &err));
        ck_assert_uint_eq(plan.looks, 0);
        end_place(&place);
}
END_TEST

START_TEST(closed_by_what_a_proxy_says) {
        struct place place = make_place();
        struct wla_error err;

        plan.status = 502 + (unsigned)_i;
        ck_assert_int_eq(ask(&place, 30 * USEC_PER_SEC, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        ck_assert(broker_gate_closed(place.gate, &err));
        expect_text(&place, &err);
        ck_assert_int_eq(pass(&place, USEC_PER_SEC / 10, &err), -1);
        expect_text(&place, &err);

        plan.status = 404;
        ck_assert_int_eq(pass(&place, 30 * USEC_PER_SEC, &err), 0);
        ck_assert(!broker_gate_closed(place.gate, &err));
        end_place(&place);
}
END_TEST

START_TEST(closed_when_nobody_is_there) {
        struct place place = make_place();
        struct wla_error err;

        broker_stop(place.broker);
        ck_assert_int_eq(ask(&place, 30 * USEC_PER_SEC, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_UNAVAILABLE);
        uint64_t begun_usec = clock_now_usec();
        ck_assert_int_eq(pass(&place, USEC_PER_SEC, &err), -1);
        ck_assert_uint_ge(clock_now_usec() - begun_usec, USEC_PER_SEC);
        expect_text(&place, &err);
        end_place(&place);
}
END_TEST

struct waiting {
        const struct place *place;
        uint64_t timeout_usec;
        int outcome;
};

static void *wait_at_gate(void *argument) {
        struct waiting *waiting = argument;
        struct wla_error err;

        waiting->outcome = pass(waiting->place, waiting->timeout_usec, &err);
        return NULL;
}

/* While it is closed one looks, ever more seldom, and the others wait. */
START_TEST(one_looks_for_all) {
        struct place place = make_place();
        struct waiting waiting[THREADS];
        pthread_t threads[THREADS];
        struct wla_error err;

        plan.status = 503;
        ck_assert_int_eq(ask(&place, 30 * USEC_PER_SEC, &err), -1);
        uint64_t begun_usec = clock_now_usec();
        for (size_t i = 0; i < THREADS; i++) {
                waiting[i] = (struct waiting){
                        .place = &place,
                        .timeout_usec = i == 0 ? USEC_PER_SEC / 2 : 120 * USEC_PER_SEC,
                };
                ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_at_gate, &waiting[i]), 0);
        }
        while (plan.looks < 4)
                (void)usleep(10 * 1000);
        /* A quarter and a half of a second at most, and then one each, of which at least a half. */
        ck_assert_uint_ge(clock_now_usec() - begun_usec, 125000 + 250000 + 500000 + 500000 - 1000);
        plan.status = 200;
        for (size_t i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_uint_eq(plan.looking_most, 1);
        ck_assert_uint_eq(plan.asked, 1);
        ck_assert_int_eq(waiting[0].outcome, -1);
        for (size_t i = 1; i < THREADS; i++)
                ck_assert_int_eq(waiting[i].outcome, 0);
        end_place(&place);
}
END_TEST

/* How long chance is asked for each, and that it is waited for so long. */
START_TEST(each_look_is_at_a_random_moment) {
        static const uint64_t most_usec[] = {250000, 500000, 1000000, 1000000, 1000000};
        struct place place = make_place();
        struct wla_error err;

        plan.status = 503;
        draws.usec = 150000;
        ck_assert_int_eq(ask(&place, 30 * USEC_PER_SEC, &err), -1);
        uint64_t begun_usec = clock_now_usec();
        for (unsigned i = 0; i < 30 && draws.count < 5; i++)
                ck_assert_int_eq(pass(&place, USEC_PER_SEC, &err), -1);
        ck_assert_uint_ge(clock_now_usec() - begun_usec, 4 * 150000 - 1000);
        ck_assert_uint_ge(plan.looks, 4);
        ck_assert_uint_ge(draws.count, 5);
        for (size_t i = 0; i < 5; i++) {
                ck_assert_uint_eq(draws.least_usec[i], most_usec[i] / 2);
                ck_assert_uint_eq(draws.most_usec[i], most_usec[i]);
        }
        end_place(&place);
}
END_TEST

START_TEST(closed_by_silence) {
        struct place place = make_place();
        struct wla_error err;

        plan.silent = true;
        ck_assert_int_eq(ask(&place, USEC_PER_SEC / 10, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert(!broker_gate_closed(place.gate, &err));

        ck_assert_int_eq(ask(&place, 5 * USEC_PER_SEC / 2, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert(broker_gate_closed(place.gate, &err));
        expect_text(&place, &err);
        plan.silent = false;
        ck_assert_int_eq(pass(&place, 30 * USEC_PER_SEC, &err), 0);
        end_place(&place);
}
END_TEST

static void await_requests(const struct place *place, unsigned count) {
        while (place->broker->requests < count)
                (void)usleep(5 * 1000);
}

static void *ask_patiently(void *argument) {
        struct waiting *waiting = argument;
        struct wla_error err;

        waiting->outcome = ask(waiting->place, waiting->timeout_usec, &err);
        return NULL;
}

/* Nor does it end what began before it and has time left. */
START_TEST(not_closed_while_an_older_one_waits) {
        struct place place = make_place();
        struct waiting waiting = {.place = &place, .timeout_usec = 100 * USEC_PER_SEC};
        struct wla_error err;
        pthread_t thread;

        plan.silent = true;
        ck_assert_int_eq(pthread_create(&thread, NULL, ask_patiently, &waiting), 0);
        await_requests(&place, 1);
        ck_assert_int_eq(ask(&place, 5 * USEC_PER_SEC / 2, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert(!broker_gate_closed(place.gate, &err));
        plan.silent = false;
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(waiting.outcome, 0);
        end_place(&place);
}
END_TEST

START_TEST(who_is_cancelled_leaves) {
        struct place place = make_place();
        struct deadline deadline;
        struct wla_error err;

        plan.status = 503;
        ck_assert_int_eq(ask(&place, 30 * USEC_PER_SEC, &err), -1);
        deadline_init(&deadline, clock_now_usec() + 30 * USEC_PER_SEC);
        deadline_cancel(&deadline);
        ck_assert_int_eq(broker_gate_pass(place.gate, &deadline, &err), -1);
        ck_assert_int_eq(err.code, WLA_E_TIMEOUT);
        ck_assert_str_eq(wla_error_text(&err), "nobody waits for the answer any more");
        end_place(&place);
}
END_TEST

/* The gate is closed, and nobody who looks is answered. */
static void fall_silent(const struct place *place) {
        struct wla_error err;

        plan.status = 503;
        ck_assert_int_eq(ask(place, 30 * USEC_PER_SEC, &err), -1);
        plan.silent = true;
}

static void *wait_until_cancelled(void *argument) {
        const struct place *place = ((void **)argument)[0];
        struct deadline *deadline = ((void **)argument)[1];
        static struct wla_error err;

        ck_assert_int_eq(broker_gate_pass(place->gate, deadline, &err), -1);
        return &err;
}

/* However long the look may take by itself, who is cancelled does not see it to its end. */
START_TEST(a_look_is_cancelled_with_the_looker) {
        struct place place = make_place();
        struct deadline deadline;
        pthread_t thread;
        void *err;

        fall_silent(&place);
        deadline_init(&deadline, clock_now_usec() + 100 * USEC_PER_SEC);
        void *argument[] = {&place, &deadline};
        ck_assert_int_eq(pthread_create(&thread, NULL, wait_until_cancelled, argument), 0);
        /* Of 8 seconds, after those of 2 and 4. */
        await_requests(&place, 4);
        uint64_t begun_usec = clock_now_usec();
        deadline_cancel(&deadline);
        ck_assert_int_eq(pthread_join(thread, &err), 0);
        ck_assert_uint_lt(clock_now_usec() - begun_usec, 6 * USEC_PER_SEC);
        ck_assert_str_eq(wla_error_text(err), "nobody waits for the answer any more");
        end_place(&place);
}
END_TEST

/* Who reads the log last reads that it is within reach, although a look fails after that. */
START_TEST(a_look_that_comes_too_late) {
        struct place place = make_place();
        struct waiting waiting = {.place = &place, .timeout_usec = 100 * USEC_PER_SEC};
        const char *log = scratch_file(&place.trust, "log");
        char line[256] = "";
        struct wla_error err;
        pthread_t thread;

        plan.status = 503;
        ck_assert_int_eq(ask(&place, 30 * USEC_PER_SEC, &err), -1);
        ck_assert_ptr_nonnull(freopen(log, "we", stderr));
        plan.looks_wait = true;
        ck_assert_int_eq(pthread_create(&thread, NULL, wait_at_gate, &waiting), 0);
        await_requests(&place, 2);
        plan.status = 200;
        ck_assert_int_eq(ask(&place, 30 * USEC_PER_SEC, &err), 0);
        plan.status = 503;
        plan.looks_wait = false;
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(waiting.outcome, 0);

        FILE *file = fopen(log, "re");
        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof(line), file))
                continue;
        ck_assert_msg(!strstr(line, "is out of reach"), "%s", line);
        ck_assert_int_eq(fclose(file), 0);
        end_place(&place);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("broker_gate");
        TCase *tcase = tcase_create("broker_gate");

        tcase_set_timeout(tcase, 120);
        tcase_add_test(tcase, open_as_long_as_it_answers);
        tcase_add_loop_test(tcase, closed_by_what_a_proxy_says, 0, 3);
        tcase_add_test(tcase, closed_when_nobody_is_there);
        tcase_add_test(tcase, one_looks_for_all);
        tcase_add_test(tcase, each_look_is_at_a_random_moment);
        tcase_add_test(tcase, closed_by_silence);
        tcase_add_test(tcase, not_closed_while_an_older_one_waits);
        tcase_add_test(tcase, who_is_cancelled_leaves);
        tcase_add_test(tcase, a_look_is_cancelled_with_the_looker);
        tcase_add_test(tcase, a_look_that_comes_too_late);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
