/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "fail_allocation.h"
#include "key/access.h"
#include "loop/pool.h"

/* How often the source and the opener were asked; the gate holds a fetch back. */
static atomic_int fetches;
static atomic_int opens;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static int fetch(void *self, const struct key_request *request, struct envelope *ret,
                 struct wla_error *err) {
        (void)self;
        atomic_fetch_add(&fetches, 1);
        (void)pthread_mutex_lock(&gate);
        (void)pthread_mutex_unlock(&gate);
        if (strcmp(request->id.local_name, "missing") == 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "no key named missing");
        ret->kind = ENVELOPE_TPM_BOUND;
        if (strcmp(request->id.local_name, "with-flavor") == 0) {
                ret->terms.verdict.present = true;
                ret->terms.digest[0] = (uint8_t)atomic_load(&fetches);
        }
        return buf_append_text(&ret->bytes, request->id.local_name, err);
}

static int open_envelope(void *self, const struct envelope *envelope,
                         const struct deadline *deadline, struct wla_secret **ret,
                         struct wla_error *err) {
        (void)self;
        (void)deadline;
        atomic_fetch_add(&opens, 1);
        if (envelope->bytes.size == 6 && memcmp(envelope->bytes.data, "denied", 6) == 0)
                return wla_fail(err, WLA_E_DENIED, "PCR 7 changed");
        if (wla_secret_new(32, ret, err) < 0)
                return -1;
        memset(wla_secret_fill(*ret), 0x42, 32);
        return 0;
}

static const struct key_source_ops source_ops = {.name = "fake", .fetch = fetch};
static const struct key_opener_ops opener_ops = {.name = "fake", .open = open_envelope};

struct fixture {
        struct key_routes routes;
        struct pool *pool;
        struct key_access *access;
};

struct answer {
        int count;
        bool has_key;
        enum wla_code code;
        char text[256];
        struct key_ticket *cancel; /* a ticket to cancel from inside ready */
        struct flavor_terms terms;
        bool anew;
};

static void on_ready(void *userdata, const struct wla_secret *key, const struct wla_error *err) {
        struct answer *answer = userdata;

        answer->count++;
        answer->has_key = key && wla_secret_view(key).data[31] == 0x42;
        if (err) {
                answer->code = err->code;
                wla_error_format(err, answer->text, sizeof(answer->text));
        }
        if (answer->cancel)
                key_ticket_cancel(answer->cancel);
}

static void setup(struct fixture *fixture, uint64_t cache_usec) {
        const struct key_access_settings settings = {
                .cache_usec = cache_usec, .flights_max = 4, .cached_keys_max = 4};
        struct wla_error err = {0};

        *fixture = (struct fixture){
                .routes.sources[KEY_SCHEME_LOCAL].ops = &source_ops,
                .routes.openers[ENVELOPE_TPM_BOUND].ops = &opener_ops,
        };
        atomic_store(&fetches, 0);
        atomic_store(&opens, 0);
        ck_assert_int_eq(wla_secret_heap_init(true, &err), 0);
        ck_assert_int_eq(pool_new(2, 3, &fixture->pool, &err), 0);
        ck_assert_int_eq(
                key_access_new(&fixture->routes, fixture->pool, &settings, &fixture->access, &err),
                0);
}

static void teardown(struct fixture *fixture) {
        pool_free(fixture->pool);
        key_access_free(fixture->access);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
}

static struct key_ticket *ask(struct fixture *fixture, const char *name, struct answer *answer,
                              uint64_t timeout_usec) {
        const struct key_peer peer = {0};
        const struct key_waiter waiter = {
                .deadline_usec = clock_now_usec() + timeout_usec,
                .ready = on_ready,
                .userdata = answer,
                .anew = answer->anew,
                .ret_terms = &answer->terms,
        };
        struct key_ticket *ticket;
        struct wla_error err = {0};
        struct key_id id;

        if (strchr(name, ':'))
                ck_assert_int_eq(key_id_parse(name, strlen(name), &id, &err), 0);
        else
                ck_assert_int_eq(key_id_local(name, &id, &err), 0);
        key_access_begin(fixture->access, &id, &peer, &waiter, &ticket);
        return ticket;
}

static void run_until(struct fixture *fixture, const struct answer *answer) {
        while (answer->count == 0) {
                struct pollfd ready = {.fd = pool_fd(fixture->pool), .events = POLLIN};

                ck_assert_int_eq(poll(&ready, 1, 10000), 1);
                pool_dispatch(fixture->pool);
        }
}

START_TEST(twenty_requests_share_one_flight_and_then_the_cache) {
        struct answer answers[20] = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        for (int i = 0; i < 20; i++)
                ck_assert_ptr_nonnull(ask(&fixture, "kek", &answers[i], USEC_PER_SEC * 30));
        ck_assert_uint_eq(key_access_count(fixture.access).waiting, 20);
        ck_assert_uint_eq(key_access_count(fixture.access).flights, 1);
        run_until(&fixture, &answers[0]);
        for (int i = 0; i < 20; i++) {
                ck_assert_int_eq(answers[i].count, 1);
                ck_assert(answers[i].has_key);
        }

        struct answer cached = {0};
        ck_assert_ptr_null(ask(&fixture, "kek", &cached, USEC_PER_SEC));
        ck_assert(cached.has_key);
        ck_assert_int_eq(atomic_load(&fetches), 1);
        ck_assert_int_eq(atomic_load(&opens), 1);
        teardown(&fixture);
}
END_TEST

/* With the flight, to who joins it, and out of the cache; and none with another key. */
START_TEST(a_flavor_comes_with_its_key) {
        struct answer answers[4] = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        ask(&fixture, "with-flavor", &answers[0], USEC_PER_SEC * 30);
        ask(&fixture, "with-flavor", &answers[1], USEC_PER_SEC * 30);
        run_until(&fixture, &answers[0]);
        ask(&fixture, "with-flavor", &answers[2], USEC_PER_SEC);
        for (int i = 0; i < 3; i++) {
                ck_assert(answers[i].has_key && answers[i].terms.verdict.present);
                ck_assert_uint_eq(answers[i].terms.digest[0], 1);
        }
        answers[3].terms.verdict.present = true;
        ask(&fixture, "kek", &answers[3], USEC_PER_SEC * 30);
        run_until(&fixture, &answers[3]);
        ck_assert(answers[3].has_key && !answers[3].terms.verdict.present);
        teardown(&fixture);
}
END_TEST

START_TEST(without_cache_each_flight_opens_again) {
        struct answer first = {0};
        struct answer second = {0};
        struct fixture fixture;

        setup(&fixture, 0);
        ask(&fixture, "kek", &first, USEC_PER_SEC * 30);
        run_until(&fixture, &first);
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        ask(&fixture, "kek", &second, USEC_PER_SEC * 30);
        run_until(&fixture, &second);
        ck_assert_int_eq(atomic_load(&opens), 2);
        teardown(&fixture);
}
END_TEST

static void ask_and_wait(struct fixture *fixture, bool anew) {
        struct answer answer = {.anew = anew};

        (void)!ask(fixture, "kek", &answer, USEC_PER_SEC * 30);
        run_until(fixture, &answer);
        ck_assert(answer.has_key);
}

START_TEST(who_asks_anew_has_nothing_from_the_cache) {
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        ask_and_wait(&fixture, /* anew= */ true);
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        ask_and_wait(&fixture, /* anew= */ false);
        ck_assert_int_eq(atomic_load(&opens), 2);
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 1);
        ask_and_wait(&fixture, /* anew= */ true);
        ck_assert_int_eq(atomic_load(&opens), 3);
        ask_and_wait(&fixture, /* anew= */ false);
        ck_assert_int_eq(atomic_load(&opens), 3);
        teardown(&fixture);
}
END_TEST

/* And the key is kept when one of them takes it out of the cache again. */
START_TEST(those_who_ask_anew_share_one_flight) {
        struct answer answers[3] = {{.anew = true}, {.anew = true}, {.anew = false}};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        for (int i = 0; i < 3; i++)
                ck_assert_ptr_nonnull(ask(&fixture, "kek", &answers[i], USEC_PER_SEC * 30));
        ck_assert_uint_eq(key_access_count(fixture.access).flights, 1);
        run_until(&fixture, &answers[0]);
        for (int i = 0; i < 3; i++)
                ck_assert(answers[i].has_key);
        ck_assert_int_eq(atomic_load(&opens), 1);
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 1);
        teardown(&fixture);
}
END_TEST

START_TEST(failures_reach_all_and_are_not_cached) {
        struct answer missing[2] = {0};
        struct answer denied = {0};
        struct answer nowhere = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        ask(&fixture, "missing", &missing[0], USEC_PER_SEC * 30);
        ask(&fixture, "missing", &missing[1], USEC_PER_SEC * 30);
        run_until(&fixture, &missing[0]);
        ck_assert_int_eq(missing[1].count, 1);
        ck_assert_int_eq(missing[1].code, WLA_E_NOT_FOUND);
        ck_assert_str_eq(missing[1].text, "fetching local:///missing: no key named missing");

        ask(&fixture, "denied", &denied, USEC_PER_SEC * 30);
        run_until(&fixture, &denied);
        ck_assert_str_eq(denied.text, "opening local:///denied: PCR 7 changed");

        ask(&fixture, "kbs:///a/b/c", &nowhere, USEC_PER_SEC * 30);
        run_until(&fixture, &nowhere);
        ck_assert_int_eq(nowhere.code, WLA_E_NOT_FOUND);
        ck_assert_ptr_nonnull(
                strstr(nowhere.text, "no source is configured for kbs keys: kbs:///a/b/c"));
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 0);
        teardown(&fixture);
}
END_TEST

START_TEST(the_cache_ends) {
        struct answer answer = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        ck_assert_uint_eq(key_access_next_usec(fixture.access), UINT64_MAX);
        ask(&fixture, "kek", &answer, USEC_PER_SEC * 30);
        run_until(&fixture, &answer);

        uint64_t next = key_access_next_usec(fixture.access);
        ck_assert_uint_gt(next, clock_now_usec() + 59 * USEC_PER_SEC);
        key_access_expire(fixture.access, next - 1);
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 1);
        key_access_expire(fixture.access, next);
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);

        answer.count = 0;
        ask(&fixture, "kek", &answer, USEC_PER_SEC * 30);
        run_until(&fixture, &answer);
        key_access_configure(fixture.access, USEC_PER_SEC);
        ck_assert_uint_lt(key_access_next_usec(fixture.access),
                          clock_now_usec() + 2 * USEC_PER_SEC);
        key_access_configure(fixture.access, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        teardown(&fixture);
}
END_TEST

START_TEST(a_full_cache_drops_the_oldest) {
        static const char *const names[] = {"a", "b", "c", "d", "e"};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        for (size_t i = 0; i < 5; i++) {
                struct answer answer = {0};

                ask(&fixture, names[i], &answer, USEC_PER_SEC * 30);
                run_until(&fixture, &answer);
        }
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 4);

        struct answer newest = {0};
        ck_assert_ptr_null(ask(&fixture, "e", &newest, USEC_PER_SEC));
        struct answer oldest = {0};
        ck_assert_ptr_nonnull(ask(&fixture, "a", &oldest, USEC_PER_SEC * 30));
        run_until(&fixture, &oldest);
        key_access_forget(fixture.access);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        teardown(&fixture);
}
END_TEST

/* Everyone has gone before a worker came to it: no fetch, no answer, and a later request is served. */
START_TEST(work_of_those_who_left_is_dropped) {
        struct answer blockers[2] = {0};
        struct answer gone = {0};
        struct answer later = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        (void)pthread_mutex_lock(&gate);
        ask(&fixture, "block1", &blockers[0], USEC_PER_SEC * 30);
        ask(&fixture, "block2", &blockers[1], USEC_PER_SEC * 30);
        while (atomic_load(&fetches) < 2)
                ;
        for (int i = 0; i < 100; i++)
                key_ticket_cancel(ask(&fixture, "kek", &gone, USEC_PER_SEC * 30));
        ck_assert_uint_eq(key_access_count(fixture.access).flights, 2);
        ask(&fixture, "kek", &later, USEC_PER_SEC * 30);

        struct answer fourth = {0};
        struct answer refused = {0};
        ask(&fixture, "fourth", &fourth, USEC_PER_SEC * 30);
        ck_assert_ptr_null(ask(&fixture, "fifth", &refused, USEC_PER_SEC * 30));
        ck_assert_int_eq(refused.code, WLA_E_BUSY);
        ck_assert_ptr_nonnull(strstr(refused.text, "4 keys are being opened already"));

        (void)pthread_mutex_unlock(&gate);
        run_until(&fixture, &later);
        run_until(&fixture, &fourth);
        ck_assert(later.has_key);
        ck_assert_int_eq(gone.count, 0);
        teardown(&fixture);
        ck_assert_int_eq(atomic_load(&fetches), 4);
}
END_TEST

START_TEST(time_can_be_up_before_the_work_begins) {
        struct answer blockers[2] = {0};
        struct answer late = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        (void)pthread_mutex_lock(&gate);
        ask(&fixture, "block1", &blockers[0], USEC_PER_SEC * 30);
        ask(&fixture, "block2", &blockers[1], USEC_PER_SEC * 30);
        while (atomic_load(&fetches) < 2)
                ;
        ask(&fixture, "kek", &late, 0);
        (void)pthread_mutex_unlock(&gate);
        run_until(&fixture, &late);
        ck_assert_int_eq(late.code, WLA_E_TIMEOUT);
        ck_assert_ptr_nonnull(strstr(late.text, "local:///kek was not opened in time"));
        teardown(&fixture);
}
END_TEST

/* An answer can end a connection, and with it other calls that wait for the same key. */
START_TEST(an_answer_may_cancel_its_neighbour) {
        struct answer first = {0};
        struct answer second = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        second.cancel = ask(&fixture, "kek", &first, USEC_PER_SEC * 30);
        ask(&fixture, "kek", &second, USEC_PER_SEC * 30);
        run_until(&fixture, &second);
        ck_assert_int_eq(second.count, 1);
        ck_assert_int_eq(first.count, 0);
        teardown(&fixture);
}
END_TEST

/* What is revoked while it is being opened serves those who asked before, and nobody after. */
START_TEST(forgetting_reaches_keys_on_their_way) {
        struct answer before = {0};
        struct answer after = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        (void)pthread_mutex_lock(&gate);
        ask(&fixture, "kek", &before, USEC_PER_SEC * 30);
        key_access_forget(fixture.access);
        ask(&fixture, "kek", &after, USEC_PER_SEC * 30);
        ck_assert_uint_eq(key_access_count(fixture.access).flights, 2);
        ck_assert_uint_eq(key_access_count(fixture.access).waiting, 2);
        (void)pthread_mutex_unlock(&gate);
        run_until(&fixture, &before);
        run_until(&fixture, &after);
        ck_assert(before.has_key);
        ck_assert(after.has_key);
        ck_assert_int_eq(atomic_load(&fetches), 2);

        struct answer revoked = {0};
        key_access_forget(fixture.access);
        (void)pthread_mutex_lock(&gate);
        ask(&fixture, "kek", &revoked, USEC_PER_SEC * 30);
        key_access_forget(fixture.access);
        (void)pthread_mutex_unlock(&gate);
        run_until(&fixture, &revoked);
        ck_assert(revoked.has_key);
        ck_assert_uint_eq(key_access_count(fixture.access).cached, 0);
        ck_assert_uint_eq(key_access_count(fixture.access).flights, 0);
        ck_assert_uint_eq(wla_secret_heap_used(), 0);
        teardown(&fixture);
}
END_TEST

START_TEST(without_an_opener_no_key_is_opened) {
        struct answer answer = {0};
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        fixture.routes.openers[ENVELOPE_TPM_BOUND].ops = NULL;
        ask(&fixture, "kek", &answer, USEC_PER_SEC * 30);
        run_until(&fixture, &answer);
        ck_assert_int_eq(answer.code, WLA_E_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(answer.text, "opening local:///kek: this agent cannot"));
        teardown(&fixture);
}
END_TEST

static bool obstacle(void *self, struct wla_error *err) {
        (void)self;
        (void)wla_fail(err, WLA_E_UNAVAILABLE, "the broker is out of reach");
        return true;
}

static void count_move(void *userdata) {
        ++*(int *)userdata;
}

/* Whose time is up hears it at that time, although every worker hangs. */
START_TEST(who_waits_for_a_worker_hears_why) {
        static const struct key_source_ops remote_ops = {
                .name = "remote", .fetch = fetch, .obstacle = obstacle};
        struct answer answers[3] = {0};
        struct fixture fixture;
        int moves = 0;

        setup(&fixture, 0);
        key_access_free(fixture.access);
        const struct key_access_settings settings = {
                .flights_max = 4, .cached_keys_max = 4, .moved = count_move, .userdata = &moves};
        struct wla_error err = {0};
        ck_assert_int_eq(
                key_access_new(&fixture.routes, fixture.pool, &settings, &fixture.access, &err), 0);
        fixture.routes.sources[KEY_SCHEME_LOCAL].ops = &remote_ops;

        (void)pthread_mutex_lock(&gate);
        (void)ask(&fixture, "first", &answers[0], 30 * USEC_PER_SEC);
        (void)ask(&fixture, "second", &answers[1], 30 * USEC_PER_SEC);
        while (atomic_load(&fetches) < 2)
                (void)poll(NULL, 0, 1);
        uint64_t now_usec = clock_now_usec();
        (void)ask(&fixture, "third", &answers[2], USEC_PER_SEC);
        ck_assert_int_eq(moves, 3);
        uint64_t due_usec = key_access_next_usec(fixture.access);
        ck_assert_uint_ge(due_usec, now_usec + USEC_PER_SEC);
        ck_assert_uint_le(due_usec, clock_now_usec() + USEC_PER_SEC);

        key_access_expire(fixture.access, due_usec - 1);
        ck_assert_int_eq(answers[2].count, 0);
        key_access_expire(fixture.access, due_usec);
        ck_assert_int_eq(answers[2].count, 1);
        ck_assert_int_eq(answers[2].code, WLA_E_UNAVAILABLE);
        ck_assert_str_eq(answers[2].text, "fetching local:///third: the broker is out of reach");

        /* Those that have been begun land by themselves, and no timer waits for that. */
        key_access_expire(fixture.access, due_usec + 60 * USEC_PER_SEC);
        ck_assert_int_eq(answers[0].count + answers[1].count, 0);
        ck_assert_uint_eq(key_access_next_usec(fixture.access), UINT64_MAX);
        (void)pthread_mutex_unlock(&gate);
        run_until(&fixture, &answers[0]);
        run_until(&fixture, &answers[1]);
        ck_assert(answers[0].has_key && answers[1].has_key);
        teardown(&fixture);
}
END_TEST

static int fetch_at_once(void *self, const struct key_request *request, struct envelope *ret,
                         struct wla_error *err) {
        (void)self;
        (void)request;
        ret->kind = ENVELOPE_TPM_BOUND;
        return buf_append_text(&ret->bytes, "key", err);
}

/* What hangs in one source's fetches holds up no other source's. */
START_TEST(a_source_has_workers_of_its_own) {
        static const struct key_source_ops remote_ops = {.name = "remote", .fetch = fetch};
        static const struct key_source_ops local_ops = {.name = "local", .fetch = fetch_at_once};
        struct answer hanging[3] = {0};
        struct answer answer = {0};
        struct wla_error err = {0};
        struct fixture fixture;
        struct pool *own;

        setup(&fixture, 0);
        ck_assert_int_eq(pool_new(2, 3, &own, &err), 0);
        fixture.routes.sources[KEY_SCHEME_LOCAL].ops = &local_ops;
        fixture.routes.sources[KEY_SCHEME_HTTPS] = (struct key_source){.ops = &remote_ops,
                                                                       .pool = own};

        (void)pthread_mutex_lock(&gate);
        (void)ask(&fixture, "https://kbs/1", &hanging[0], 30 * USEC_PER_SEC);
        (void)ask(&fixture, "https://kbs/2", &hanging[1], 30 * USEC_PER_SEC);
        (void)ask(&fixture, "https://kbs/3", &hanging[2], 30 * USEC_PER_SEC);
        (void)ask(&fixture, "kek", &answer, 30 * USEC_PER_SEC);
        run_until(&fixture, &answer);
        ck_assert(answer.has_key);
        (void)pthread_mutex_unlock(&gate);

        for (int i = 0; i < 3; i++)
                while (hanging[i].count == 0)
                        pool_dispatch(own);
        pool_free(own);
        teardown(&fixture);
}
END_TEST

START_TEST(failed_allocations_are_answers) {
        struct fixture fixture;

        setup(&fixture, 60 * USEC_PER_SEC);
        for (size_t n = 1; n <= 3; n++) {
                const struct key_peer peer = {0};
                struct answer answer = {0};
                const struct key_waiter waiter = {
                        .deadline_usec = clock_now_usec() + 30 * USEC_PER_SEC,
                        .ready = on_ready,
                        .userdata = &answer,
                };
                struct wla_error err = {0};
                struct key_ticket *ticket;
                struct key_id id;

                ck_assert_int_eq(key_id_local("kek", &id, &err), 0);
                (void)fail_allocation_arm(n);
                key_access_begin(fixture.access, &id, &peer, &waiter, &ticket);
                fail_allocation_disarm();
                if (n <= 2) {
                        ck_assert_ptr_null(ticket);
                        ck_assert_str_eq(answer.text, "opening local:///kek: out of memory");
                } else {
                        run_until(&fixture, &answer);
                        ck_assert(answer.has_key);
                }
        }
        teardown(&fixture);
}
END_TEST

SUITE_MAIN("access", twenty_requests_share_one_flight_and_then_the_cache,
           a_flavor_comes_with_its_key, without_cache_each_flight_opens_again,
           who_asks_anew_has_nothing_from_the_cache, those_who_ask_anew_share_one_flight,
           failures_reach_all_and_are_not_cached, the_cache_ends, a_full_cache_drops_the_oldest,
           work_of_those_who_left_is_dropped, time_can_be_up_before_the_work_begins,
           an_answer_may_cancel_its_neighbour, forgetting_reaches_keys_on_their_way,
           without_an_opener_no_key_is_opened, who_waits_for_a_worker_hears_why,
           a_source_has_workers_of_its_own, failed_allocations_are_answers)
