/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <time.h>

#include "tpm/context.h"

#define WAITS_MAX         10u
#define WAIT_FIRST_USEC   (20 * USEC_PER_MSEC)
#define WAIT_LONGEST_USEC (200 * USEC_PER_MSEC)

/* systemd and FAPI settled on few restarts too: a PCR that never rests is a fault of the host. */
#define POLICY_RESTARTS_MAX 3u

/* False when the deadline would pass meanwhile. */
static bool pause_before(unsigned waits, const struct deadline *deadline) {
        uint64_t usec = WAIT_FIRST_USEC << waits;

        if (usec > WAIT_LONGEST_USEC)
                usec = WAIT_LONGEST_USEC;
        if (deadline && deadline_left_usec(deadline) <= usec)
                return false;

        struct timespec pause = {.tv_nsec = (long)(usec * 1000)};
        while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
                ;
        return true;
}

struct attempts {
        unsigned waits;
        unsigned policy_restarts;
        unsigned new_contexts; /* bit n: for remedy n, once each */
};

static bool try_again(struct tpm *tpm, struct attempts *attempts, const struct deadline *deadline) {
        switch (tpm->remedy) {
        case TPM_WAIT:
                return attempts->waits < WAITS_MAX && pause_before(attempts->waits++, deadline);
        case TPM_RESTART_POLICY:
                return attempts->policy_restarts++ < POLICY_RESTARTS_MAX;
        case TPM_RECONNECT:
        case TPM_MAKE_ROOM:
        case TPM_START_UP:
                tpm->make_room |= tpm->remedy == TPM_MAKE_ROOM;
                tpm->start_up |= tpm->remedy == TPM_START_UP;
                tpm_disconnect(tpm, tpm->remedy == TPM_MAKE_ROOM);
                if (attempts->new_contexts & 1u << tpm->remedy)
                        return false;
                attempts->new_contexts |= 1u << tpm->remedy;
                return !deadline || deadline_left_usec(deadline) > 0;
        case TPM_DROP:
                tpm_disconnect(tpm, true);
                return false;
        case TPM_GIVE_UP:
        case TPM_SUSPECT_INPUT:
                return false;
        }
        return false;
}

int tpm_run(struct tpm *tpm, const struct deadline *deadline,
            int (*step)(struct tpm *tpm, void *arg, struct wla_error *err), void *arg,
            struct wla_error *err) {
        struct attempts attempts = {0};

        do {
                if (deadline && deadline_left_usec(deadline) == 0)
                        return wla_fail(err, WLA_E_TIMEOUT,
                                        "the request timed out before the TPM was free");

                tpm->remedy = TPM_GIVE_UP;
                if (tpm_connect(tpm, err) == 0 && step(tpm, arg, err) == 0)
                        return 0;
        } while (try_again(tpm, &attempts, deadline));

        return -1;
}
