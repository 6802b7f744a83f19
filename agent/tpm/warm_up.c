/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/warm_up.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tpm/host_key.h"
#include "tpm/tpm.h"

#define WARM_UP_TIMEOUT (30 * USEC_PER_SEC)

/* How it went with the agent's own binding key, and with that of Intel SecL where there is one. */
struct readiness {
        int outcome;
        struct wla_error err;
        bool uses_host_key;
        int host_outcome;
        struct wla_error host_err;
};

struct lane_part {
        struct lane_job job; /* first: the lane hands it back */
        struct readiness readiness;
};

struct warm_up {
        struct pool_job job; /* first: the pool hands it back */
        struct deadline deadline;
        struct lane *lane;
        char *device;
        struct readiness readiness;
};

static void run_on_lane(struct lane_job *job, void *resource) {
        struct readiness *readiness = &((struct lane_part *)job)->readiness;
        struct tpm *tpm = resource;

        readiness->outcome = tpm_prepare(tpm, &readiness->err);
        readiness->uses_host_key = tpm_host_key_is_used(tpm, HOST_KEY_BINDING);
        if (readiness->uses_host_key)
                readiness->host_outcome = tpm_host_key_prepare(tpm, HOST_KEY_BINDING,
                                                               &readiness->host_err);
}

static void free_lane_part(struct lane_job *job) {
        free(job);
}

static void run_on_worker(struct pool_job *job) {
        struct warm_up *warm_up = (struct warm_up *)job;
        struct readiness *readiness = &warm_up->readiness;
        struct lane_part *part = calloc(1, sizeof(*part));

        if (!part) {
                readiness->outcome = wla_fail(&readiness->err, WLA_E_BUSY, "out of memory");
                return;
        }

        part->job = (struct lane_job){.run = run_on_lane, .free = free_lane_part};
        struct lane_job *lane_job = &part->job;
        readiness->outcome = lane_call(warm_up->lane, &lane_job, &warm_up->deadline,
                                       &readiness->err);
        if (readiness->outcome < 0)
                return;

        *readiness = part->readiness;
        free(part);
}

static void log_lost(const char *what, const struct wla_error *err) {
        char text[768];

        wla_error_format(err, text, sizeof(text));
        log_event(LOG_WARNING, LOG_ID_TPM_LOST, NULL, "%s: %s", what, text);
}

/* A host that has keys of Intel SecL only needs no binding key of the agent's own. */
static void log_readiness(const struct readiness *readiness, const char *device) {
        bool host_is_ready = readiness->uses_host_key && readiness->host_outcome == 0;
        bool is_lost = readiness->outcome < 0 &&
                       !(host_is_ready && readiness->err.code == WLA_E_NOT_FOUND);
        char what[256];

        if (is_lost) {
                (void)snprintf(what, sizeof(what),
                               "the TPM at %s is not ready, keys will be refused until it is",
                               device);
                log_lost(what, &readiness->err);
        } else {
                log_event(LOG_INFO, LOG_ID_TPM_READY, NULL, "the TPM at %s is ready", device);
        }
        if (readiness->uses_host_key && !host_is_ready)
                log_lost("keys of Intel SecL's broker will be refused until its binding key is "
                         "ready",
                         &readiness->host_err);
}

static void log_outcome(struct pool_job *job, bool dropped) {
        struct warm_up *warm_up = (struct warm_up *)job;

        if (!dropped)
                log_readiness(&warm_up->readiness, warm_up->device);
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
