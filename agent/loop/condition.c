/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/condition.h"

#include <time.h>

#define LOOK_AT_DEADLINE_USEC (50 * USEC_PER_MSEC)

void condition_init(pthread_cond_t *condition) {
        pthread_condattr_t attributes;

        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void)pthread_cond_init(condition, &attributes);
        (void)pthread_condattr_destroy(&attributes);
}

void condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock,
                    const struct deadline *deadline) {
        uint64_t left_usec = deadline_left_usec(deadline);
        struct timespec until;

        if (left_usec > LOOK_AT_DEADLINE_USEC)
                left_usec = LOOK_AT_DEADLINE_USEC;

        uint64_t at_usec = clock_now_usec() + left_usec;
        until.tv_sec = (time_t)(at_usec / USEC_PER_SEC);
        until.tv_nsec = (long)(at_usec % USEC_PER_SEC * 1000);
        (void)pthread_cond_timedwait(condition, lock, &until);
}
