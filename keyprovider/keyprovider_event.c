/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/keyprovider_event.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metrics.h"

struct ending {
        const char *outcome; /* a code's token, or "cancelled" */
        const char *reason;  /* NULL: released */
        uint64_t duration_usec;
};

static void log_end(const struct keyprovider_call *call, const struct ending *ending) {
        const char *operation = provider_operation_name(call->request.operation);
        const char *key = call->key ? call->key->text : NULL;
        const struct key_peer *peer = &call->origin.peer;
        char uid[16];
        char pid[16];
        char duration[24];

        (void)snprintf(uid, sizeof(uid), "%" PRIu32, (uint32_t)peer->uid);
        (void)snprintf(pid, sizeof(pid), "%" PRId32, (int32_t)peer->pid);
        (void)snprintf(duration, sizeof(duration), "%" PRIu64, ending->duration_usec);
        const struct log_field fields[] = {
                {"WLA_KEY_ID", key},
                {"WLA_PEER_UID", uid},
                {"WLA_PEER_PID", pid},
                {"WLA_OPERATION", operation},
                {"WLA_ERROR_CODE", ending->outcome},
                {"WLA_DURATION_USEC", duration},
                {NULL, NULL},
        };

        if (!ending->reason)
                log_event(LOG_INFO, LOG_ID_KEY_RELEASED, fields, "%s with %s done for uid %s",
                          operation, key, uid);
        else
                log_event(LOG_WARNING, LOG_ID_KEY_REFUSED, fields,
                          "%s with %s refused to uid %s: %s", operation, key ? key : "no key", uid,
                          ending->reason);
}

void keyprovider_event_end(const struct keyprovider_call *call, enum wla_code code,
                           const char *reason) {
        const struct ending ending = {
                .outcome = wla_code_token(code),
                .reason = reason,
                .duration_usec = clock_now_usec() - call->arrived_usec,
        };
        unsigned operation = call->request.operation == PROVIDER_WRAP ? METRIC_WRAP : METRIC_UNWRAP;

        metrics_count(METRIC_KEYPROVIDER_REQUESTS, operation, code);
        metrics_observe_usec(METRIC_KEYPROVIDER_REQUEST_SECONDS, ending.duration_usec);
        log_end(call, &ending);
}

void keyprovider_event_client_gone(const struct keyprovider_call *call) {
        const struct ending ending = {
                .outcome = "cancelled",
                .reason = "the client has gone",
                .duration_usec = clock_now_usec() - call->arrived_usec,
        };

        log_end(call, &ending);
}
