/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/bind_opener.h"

#include <stdlib.h>
#include <string.h>

#include "tpm/tpm.h"

/* Everything the lane needs after the caller has gone; the wrapped key is no secret. */
struct bind_job {
        struct lane_job lane_job; /* first: the lane hands it back */
        uint8_t wrapped[RSA_WRAPPED_SIZE];
        size_t wrapped_size;
        char fingerprint[KEY_FINGERPRINT_SIZE];
        struct deadline deadline;
        struct wla_secret *secret;
        struct wla_error err;
        int result;
};

static void run(struct lane_job *lane_job, void *resource) {
        struct bind_job *job = (struct bind_job *)lane_job;
        struct wla_bytes wrapped = {.data = job->wrapped, .size = job->wrapped_size};

        job->result = tpm_unbind(resource, wrapped, job->fingerprint, &job->deadline, &job->secret,
                                 &job->err);
}

static void free_job(struct lane_job *lane_job) {
        struct bind_job *job = (struct bind_job *)lane_job;

        job->secret = wla_secret_free(job->secret);
        free(job);
}

static struct bind_job *make_job(const struct envelope *envelope, const struct deadline *deadline) {
        struct bind_job *job = calloc(1, sizeof(*job));

        if (!job)
                return NULL;

        job->lane_job = (struct lane_job){.run = run, .free = free_job};
        job->wrapped_size = envelope->bytes.size;
        memcpy(job->wrapped, envelope->bytes.data, envelope->bytes.size);
        memcpy(job->fingerprint, envelope->binding_key, sizeof(job->fingerprint));
        deadline_init(&job->deadline, atomic_load(&deadline->at_usec));
        return job;
}

static int open_once(struct lane *lane, const struct envelope *envelope,
                     const struct deadline *deadline, struct wla_secret **ret,
                     struct wla_error *err) {
        struct bind_job *job = make_job(envelope, deadline);
        if (!job)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        struct lane_job *lane_job = &job->lane_job;
        if (lane_call(lane, &lane_job, deadline, err) < 0)
                return -1;

        int result = job->result;
        if (result == 0) {
                *ret = job->secret;
                job->secret = NULL;
        } else {
                *err = job->err;
        }
        free_job(lane_job);
        return result;
}

static int open_envelope(void *self, const struct envelope *envelope,
                         const struct deadline *deadline, struct wla_secret **ret,
                         struct wla_error *err) {
        int result;

        if (envelope->bytes.size != RSA_WRAPPED_SIZE)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "have the owner wrap the key again for this host",
                                     "a wrapped key has %u bytes, and this one %zu",
                                     RSA_WRAPPED_SIZE, envelope->bytes.size);

        /* A job has the deadline of its start; who has joined meanwhile may have more time. */
        do {
                result = open_once(self, envelope, deadline, ret, err);
        } while (result < 0 && err->code == WLA_E_TIMEOUT && deadline_left_usec(deadline) > 0);
        return result;
}

struct key_opener bind_opener(struct lane *lane) {
        static const struct key_opener_ops ops = {.name = "tpm", .open = open_envelope};

        return (struct key_opener){.ops = &ops, .self = lane};
}
