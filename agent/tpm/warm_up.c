/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/warm_up.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tpm/tpm.h"

#define WARM_UP_TIMEOUT (30 * USEC_PER_SEC)

struct lane_part {
        struct lane_job job; /* first: the lane hands it back */
        int outcome;
        struct wla_error err;
};

struct warm_up {
        struct pool_job job; /* first: the pool hands it back */
        struct deadline deadline;
        struct lane *lane;
        char *device;
        int outcome;
        struct wla_error err;
};

static void run_on_lane(struct lane_job *job, void *resource) {
        struct lane_part *part = (struct lane_part *)job;

        part->outcome = tpm_prepare(resource, &part->err);
}

static void free_lane_part(struct lane_job *job) {
        free(job);
}

static void run_on_worker(struct pool_job *job) {
        struct warm_up *warm_up = (struct warm_up *)job;
        struct lane_part *part = calloc(1, sizeof(*part));

        if (!part) {
                warm_up->outcome = wla_fail(&warm_up->err, WLA_E_BUSY, "out of memory");
                return;
        }

        part->job = (struct lane_job){.run = run_on_lane, .free = free_lane_part};
        struct lane_job *lane_job = &part->job;
        warm_up->outcome = lane_call(warm_up->lane, &lane_job, &warm_up->deadline, &warm_up->err);
        if (warm_up->outcome < 0)
                return;

        warm_up->outcome = part->outcome;
        warm_up->err = part->err;
        free(part);
}

static void log_outcome(struct pool_job *job, bool dropped) {
        struct warm_up *warm_up = (struct warm_up *)job;
        char text[768];

        if (!dropped && warm_up->outcome == 0) {
                log_event(LOG_INFO, LOG_ID_TPM_READY, NULL, "the TPM at %s is ready",
                          warm_up->device);
        } else if (!dropped) {
                wla_error_format(&warm_up->err, text, sizeof(text));
                log_event(LOG_WARNING, LOG_ID_TPM_LOST, NULL,
                          "the TPM at %s is not ready, keys will be refused until it is: %s",
                          warm_up->device, text);
        }
        free(warm_up->device);
        free(warm_up);

        /* Starting OpenSSL and the TPM stack took far more memory than keeping them does. */
        (void)malloc_trim(0);
}

void tpm_warm_up(struct pool *pool, struct lane *lane, const char *device) {
        struct warm_up *warm_up = calloc(1, sizeof(*warm_up));
        struct wla_error err = {0};

        if (!warm_up)
                return;

        warm_up->job = (struct pool_job){
                .run = run_on_worker,
                .done = log_outcome,
                .deadline = &warm_up->deadline,
        };
        deadline_init(&warm_up->deadline, clock_now_usec() + WARM_UP_TIMEOUT);
        warm_up->lane = lane;
        warm_up->device = strdup(device);
        if (warm_up->device && pool_submit(pool, &warm_up->job, &err) == 0)
                return;

        free(warm_up->device);
        free(warm_up);
}
