/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

uint64_t clock_now_usec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

void deadline_init(struct deadline *deadline, uint64_t at_usec) {
        atomic_init(&deadline->at_usec, at_usec);
}

void deadline_extend(struct deadline *deadline, uint64_t at_usec) {
        uint64_t present = atomic_load(&deadline->at_usec);

        while (present != 0 && present < at_usec)
                if (atomic_compare_exchange_weak(&deadline->at_usec, &present, at_usec))
                        return;
}

void deadline_cancel(struct deadline *deadline) {
        atomic_store(&deadline->at_usec, 0);
}

bool deadline_cancelled(const struct deadline *deadline) {
        return atomic_load(&deadline->at_usec) == 0;
}

uint64_t deadline_left_usec(const struct deadline *deadline) {
        uint64_t at_usec = atomic_load(&deadline->at_usec);
        uint64_t now_usec = clock_now_usec();

        return at_usec > now_usec ? at_usec - now_usec : 0;
}
