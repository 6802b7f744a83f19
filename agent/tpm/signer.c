/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/signer.h"

#include <stdlib.h>
#include <string.h>

/* Everything the lane needs after the caller has gone. */
struct sign_job {
        struct lane_job lane_job; /* first: the lane hands it back */
        uint8_t digest[TPM_DIGEST_SIZE];
        struct deadline deadline;
        uint8_t signature[TPM_SIGNATURE_SIZE];
        struct wla_error err;
        int result;
};

static void run(struct lane_job *lane_job, void *resource) {
        struct sign_job *job = (struct sign_job *)lane_job;

        job->result = tpm_sign(resource, job->digest, &job->deadline, job->signature, &job->err);
}

static void free_job(struct lane_job *lane_job) {
        free(lane_job);
}

int signer_sign(struct lane *lane, const uint8_t digest[TPM_DIGEST_SIZE],
                const struct deadline *deadline, uint8_t ret[TPM_SIGNATURE_SIZE],
                struct wla_error *err) {
        struct sign_job *job = calloc(1, sizeof(*job));

        if (!job)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        job->lane_job = (struct lane_job){.run = run, .free = free_job, .patient = true};
        memcpy(job->digest, digest, sizeof(job->digest));
        deadline_init(&job->deadline, atomic_load(&deadline->at_usec));

        struct lane_job *lane_job = &job->lane_job;
        if (lane_call(lane, &lane_job, deadline, err) < 0)
                return -1;

        int result = job->result;
        if (result == 0)
                memcpy(ret, job->signature, sizeof(job->signature));
        else
                *err = job->err;
        free_job(lane_job);
        return result;
}
