/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ordered_digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "fail_allocation.h"
#include "suite.h"

#define PIECES  64u
#define THREADS 8u
#define SIZE    1000u

static struct {
        struct ordered_digest *digest;
        _Atomic uint64_t next;
        uint64_t stop_at; /* a piece that does not come; PIECES: all come */
        _Atomic unsigned stopped;
        uint8_t bytes[PIECES * SIZE];
} work;

static void *add_pieces(void *argument) {
        struct wla_error err = {0};

        for (;;) {
                uint64_t number = atomic_fetch_add(&work.next, 1);

                if (number >= PIECES)
                        return argument;
                if (number == work.stop_at) {
                        (void)wla_fail(&err, WLA_E_SYSTEM, "piece %ju is damaged",
                                       (uintmax_t)number);
                        ordered_digest_stop(work.digest, &err);
                        return argument;
                }
                if (ordered_digest_add(work.digest, number, work.bytes + number * SIZE, SIZE,
                                       &err) < 0) {
                        if (strcmp(wla_error_text(&err), "piece 20 is damaged") == 0)
                                work.stopped++;
                        return argument;
                }
        }
}

static void run(uint64_t stop_at) {
        pthread_t threads[THREADS];
        struct wla_error err = {0};

        work.next = 0;
        work.stop_at = stop_at;
        work.stopped = 0;
        for (size_t i = 0; i < sizeof(work.bytes); i++)
                work.bytes[i] = (uint8_t)(i * 31 + i / 251);
        ck_assert_int_eq(ordered_digest_new(&work.digest, &err), 0);
        for (size_t i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, add_pieces, NULL), 0);
        for (size_t i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

START_TEST(pieces_in_any_order) {
        uint8_t expected[SHA384_SIZE];
        uint8_t got[SHA384_SIZE];
        struct wla_error err = {0};

        run(PIECES);
        ck_assert_int_eq(ordered_digest_finish(work.digest, got, &err), 0);
        ck_assert_int_eq(
                EVP_Digest(work.bytes, sizeof(work.bytes), expected, NULL, EVP_sha384(), NULL), 1);
        ck_assert_mem_eq(got, expected, SHA384_SIZE);
        ck_assert_ptr_null(ordered_digest_free(work.digest));
}
END_TEST

/* Nobody waits for ever, and everybody tells the reason of the first. */
START_TEST(a_piece_that_does_not_come) {
        run(20);
        ck_assert_uint_eq(work.stopped, THREADS - 1);
        (void)ordered_digest_free(work.digest);
}
END_TEST

START_TEST(without_memory) {
        struct wla_error err = {0};
        unsigned failures = 0;

        for (size_t n = 1; fail_allocation_arm(n); n++) {
                struct ordered_digest *digest = NULL;

                int outcome = ordered_digest_new(&digest, &err);
                fail_allocation_disarm();
                failures += outcome < 0;
                ck_assert_int_eq(outcome, fail_allocation_hit() ? -1 : 0);
                (void)ordered_digest_free(digest);
        }
        ck_assert_uint_ge(failures, 1);
}
END_TEST

SUITE_MAIN("ordered_digest", pieces_in_any_order, a_piece_that_does_not_come, without_memory)
