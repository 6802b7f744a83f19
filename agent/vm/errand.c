/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/errand.h"

#include "vm/lifecycle_state.h"

static void run(struct pool_job *job) {
        struct errand *errand = (struct errand *)job;

        errand->outcome = errand->work(errand, &errand->err);
}

static void came_back(struct pool_job *job, bool dropped) {
        struct errand *errand = (struct errand *)job;

        if (dropped)
                errand->outcome = wla_fail(&errand->err, WLA_E_TIMEOUT,
                                           "no worker was free to ask wlagent-volumed");
        errand->finish(errand, errand->outcome < 0 ? &errand->err : NULL);
}

int errand_begin(struct errand *errand, struct lifecycle *lifecycle, uint64_t deadline_usec,
                 struct wla_error *err) {
        errand->job = (struct pool_job){
                .run = run, .done = came_back, .deadline = &errand->deadline};
        errand->outcome = 0;
        errand->err = (struct wla_error){0};
        deadline_init(&errand->deadline, deadline_usec);
        if (lifecycle_need_pool(lifecycle, err) < 0)
                return -1;
        return pool_submit(lifecycle->pool, &errand->job, err);
}
