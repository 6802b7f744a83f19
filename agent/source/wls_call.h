/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One request to Intel SecL's WLS: the agent's token, a new one when that was refused, and one more try when
 * WLS was lost meanwhile, or something behind it was not to be reached, unless the caller has a queue for that: never
 * more than two requests in all.  While WLS is out of reach the request waits for its return (source/broker_gate.h); that of
 * a caller with a queue is itself a look whether WLS is there.
 *
 * Threads: any; blocks, never beyond the deadline.
 * Failure: as http_perform(), broker_token_get() and the reading of the answer.
 */

#include "source/broker_record.h"
#include "source/broker_token.h"
#include "source/wls_answer.h"

struct wls_service {
        const char *url; /* base URL, without '/' at its end */
        struct broker_gate *gate;
        struct broker_token *token;
        struct broker_record *record; /* or NULL */
};

#define WLS_ANSWER_MAX 32768u

struct wls_call {
        const char *method; /* "GET" or "POST" */
        const char *path;   /* begins with '/' */
        struct wla_bytes body;
        bool once; /* what is not to be reached now is the caller's to try later */
        /* Whether the answer is one; on failure *ret_next is set. */
        int (*read)(void *userdata, const struct http_answer *answer, enum wls_next *ret_next,
                    struct wla_error *err);
        void *userdata;
        bool attests; /* it succeeds only when HVS trusts this host */
};

int wls_call(const struct wls_service *service, const struct wls_call *call,
             const struct deadline *deadline, struct wla_error *err) _must_check_;

/* What keeps requests waiting now; false when nothing does. */
bool wls_service_obstacle(const struct wls_service *service, struct wla_error *err);
