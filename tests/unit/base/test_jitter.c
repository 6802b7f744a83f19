/* SPDX-License-Identifier: Apache-2.0 */
#include "base/jitter.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "suite.h"

#define LEAST   250000u
#define MOST    500000u
#define DRAWS   8000u
#define BUCKETS 8u

/* splitmix64, so that a test is the same each time. */
static uint64_t state;

static ssize_t seeded(void *to, size_t size, unsigned flags) {
        ck_assert_uint_eq(size, sizeof(state));
        ck_assert_uint_eq(flags, GRND_NONBLOCK);
        uint64_t next = state += UINT64_C(0x9e3779b97f4a7c15);
        next = (next ^ next >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        next = (next ^ next >> 27) * UINT64_C(0x94d049bb133111eb);
        next ^= next >> 31;
        memcpy(to, &next, size);
        return (ssize_t)size;
}

static ssize_t zeros(void *to, size_t size, unsigned flags) {
        (void)flags;
        memset(to, 0, size);
        return (ssize_t)size;
}

static ssize_t ones(void *to, size_t size, unsigned flags) {
        (void)flags;
        memset(to, 0xff, size);
        return (ssize_t)size;
}

static ssize_t nothing(void *to, size_t size, unsigned flags) {
        memset(to, 0x5a, size);
        (void)flags;
        errno = EAGAIN;
        return -1;
}

static ssize_t too_little(void *to, size_t size, unsigned flags) {
        memset(to, 0x5a, size);
        (void)flags;
        return (ssize_t)size - 1;
}

START_TEST(evenly_between_its_bounds) {
        unsigned counts[BUCKETS] = {0};

        state = 1;
        for (unsigned i = 0; i < DRAWS; i++) {
                uint64_t pause_usec = jitter_usec_from(seeded, LEAST, MOST);

                ck_assert_uint_ge(pause_usec, LEAST);
                ck_assert_uint_lt(pause_usec, MOST);
                counts[(pause_usec - LEAST) * BUCKETS / (MOST - LEAST)]++;
        }
        for (unsigned i = 0; i < BUCKETS; i++) {
                ck_assert_uint_ge(counts[i], DRAWS / BUCKETS * 85 / 100);
                ck_assert_uint_le(counts[i], DRAWS / BUCKETS * 115 / 100);
        }
}
END_TEST

START_TEST(its_bounds_themselves) {
        ck_assert_uint_eq(jitter_usec_from(zeros, LEAST, MOST), LEAST);
        uint64_t pause_usec = jitter_usec_from(ones, LEAST, MOST);
        ck_assert_uint_ge(pause_usec, LEAST);
        ck_assert_uint_lt(pause_usec, MOST);
        ck_assert_uint_eq(jitter_usec_from(ones, 7, 8), 7);
}
END_TEST

START_TEST(two_agents_differ) {
        uint64_t first[20];
        unsigned same = 0;

        state = 1;
        for (unsigned i = 0; i < 20; i++)
                first[i] = jitter_usec_from(seeded, LEAST, MOST);
        state = 2;
        for (unsigned i = 0; i < 20; i++)
                same += jitter_usec_from(seeded, LEAST, MOST) == first[i];
        ck_assert_uint_le(same, 1);
}
END_TEST

/* 20 equal ones by chance among 250000: once in 10^100. */
START_TEST(the_kernel_is_asked_each_time) {
        uint64_t first_usec = jitter_usec(LEAST, MOST);
        unsigned same = 0;

        for (unsigned i = 0; i < 20; i++) {
                uint64_t pause_usec = jitter_usec(LEAST, MOST);

                ck_assert_uint_ge(pause_usec, LEAST);
                ck_assert_uint_lt(pause_usec, MOST);
                same += pause_usec == first_usec;
        }
        ck_assert_uint_lt(same, 20);
}
END_TEST

START_TEST(without_randomness_the_shortest) {
        ck_assert_uint_eq(jitter_usec_from(nothing, LEAST, MOST), LEAST);
        ck_assert_uint_eq(jitter_usec_from(too_little, LEAST, MOST), LEAST);
}
END_TEST

SUITE_MAIN("jitter", evenly_between_its_bounds, its_bounds_themselves, two_agents_differ,
           the_kernel_is_asked_each_time, without_randomness_the_shortest)
