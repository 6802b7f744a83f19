/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/bind_opener.h"

#include <stdlib.h>
#include <string.h>

#include "tpm/host_key.h"
#include "tpm/tpm.h"

struct unbind_ops {
        int (*unbind)(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint,
                      const struct deadline *deadline, struct wla_secret **ret,
                      struct wla_error *err);
        void (*prepare)(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint);
};

/* Everything the lane needs after the caller has gone; the wrapped key is no secret. */
struct bind_job {
        struct lane_job lane_job; /* first: the lane hands it back */
        struct lane *lane;
        const struct unbind_ops *ops;
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

        tpm_while_at_work(resource, lane_prepare_next, job->lane);
        job->result = job->ops->unbind(resource, wrapped, job->fingerprint, &job->deadline,
                                       &job->secret, &job->err);
        tpm_while_at_work(resource, NULL, NULL);
}

static void prepare(struct lane_job *lane_job, void *resource) {
        const struct bind_job *job = (const struct bind_job *)lane_job;
        struct wla_bytes wrapped = {.data = job->wrapped, .size = job->wrapped_size};

        job->ops->prepare(resource, wrapped, job->fingerprint);
}

static void free_job(struct lane_job *lane_job) {
        struct bind_job *job = (struct bind_job *)lane_job;

        job->secret = wla_secret_free(job->secret);
        free(job);
}

static struct bind_job *make_job(struct lane *lane, const struct unbind_ops *ops,
                                 const struct envelope *envelope, const struct deadline *deadline) {
        struct bind_job *job = calloc(1, sizeof(*job));

        if (!job)
                return NULL;

        job->lane_job = (struct lane_job){.run = run, .free = free_job, .prepare = prepare};
        job->lane = lane;
        job->ops = ops;
        job->wrapped_size = envelope->bytes.size;
        memcpy(job->wrapped, envelope->bytes.data, envelope->bytes.size);
        memcpy(job->fingerprint, envelope->binding_key, sizeof(job->fingerprint));
        deadline_init(&job->deadline, atomic_load(&deadline->at_usec));
        return job;
}

static int open_once(struct lane *lane, const struct unbind_ops *ops,
                     const struct envelope *envelope, const struct deadline *deadline,
                     struct wla_secret **ret, struct wla_error *err) {
        struct bind_job *job = make_job(lane, ops, envelope, deadline);
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

static int open_on_lane(struct lane *lane, const struct unbind_ops *ops,
                        const struct envelope *envelope, const struct deadline *deadline,
                        struct wla_secret **ret, struct wla_error *err) {
        int result;

        if (envelope->bytes.size != RSA_WRAPPED_SIZE)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "have the owner wrap the key again for this host",
                                     "a wrapped key has %u bytes, and this one %zu",
                                     RSA_WRAPPED_SIZE, envelope->bytes.size);

        /* A job has the deadline of its start; who has joined meanwhile may have more time. */
        do {
                result = open_once(lane, ops, envelope, deadline, ret, err);
        } while (result < 0 && err->code == WLA_E_TIMEOUT && deadline_left_usec(deadline) > 0);
        return result;
}

static int open_own(void *self, const struct envelope *envelope, const struct deadline *deadline,
                    struct wla_secret **ret, struct wla_error *err) {
        static const struct unbind_ops ops = {.unbind = tpm_unbind, .prepare = tpm_unbind_prepare};

        return open_on_lane(self, &ops, envelope, deadline, ret, err);
}

/* HVS decides which key it is, and a key broker does not say. */
static int unbind_of_host(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint,
                          const struct deadline *deadline, struct wla_secret **ret,
                          struct wla_error *err) {
        (void)fingerprint;
        return tpm_host_unbind(tpm, wrapped, deadline, ret, err);
}

static void prepare_of_host(struct tpm *tpm, struct wla_bytes wrapped, const char *fingerprint) {
        (void)fingerprint;
        tpm_host_unbind_prepare(tpm, wrapped);
}

static int open_of_host(void *self, const struct envelope *envelope,
                        const struct deadline *deadline, struct wla_secret **ret,
                        struct wla_error *err) {
        static const struct unbind_ops ops = {.unbind = unbind_of_host, .prepare = prepare_of_host};

        return open_on_lane(self, &ops, envelope, deadline, ret, err);
}

struct key_opener bind_opener(struct lane *lane) {
        static const struct key_opener_ops ops = {.name = "tpm", .open = open_own};

        return (struct key_opener){.ops = &ops, .self = lane};
}

struct key_opener host_bind_opener(struct lane *lane) {
        static const struct key_opener_ops ops = {.name = "tpm", .open = open_of_host};

        return (struct key_opener){.ops = &ops, .self = lane};
}
