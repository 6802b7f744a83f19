/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One request and its answer, as libcurl sees them: owns copies of all that it needs, because its caller
 * may leave before it is over. */

#include <curl/curl.h>
#include <pthread.h>

#include "http/connections.h"
#include "http/trust.h"

enum transfer_state {
        TRANSFER_NEW,       /* the client's thread has not seen it */
        TRANSFER_RUNNING,   /* in its multi handle */
        TRANSFER_ABANDONED, /* its caller has left: the thread ends and frees it */
        TRANSFER_FINISHED,  /* the caller's again */
};

struct transfer {
        struct transfer *next;   /* the client's, as the next two */
        pthread_cond_t finished; /* its caller waits for it, who alone is woken */
        enum transfer_state state;
        CURL *easy;
        CURLcode result;
        struct curl_slist *headers;
        struct trust trust;
        struct connection_purpose purpose;
        uint64_t begun_usec; /* CLOCK_MONOTONIC, as the next one */
        /* Since when it has been running without a connection that is ready; 0: it is not. */
        uint64_t connecting_usec;
        bool begun;     /* its request was let go */
        bool timed_out; /* it was abandoned because its time was up */
        bool yields;    /* as the request says */
        uint8_t pin[HTTP_PIN_SIZE];
        struct wla_secret *sent; /* the request's body: it may hold a password */
        size_t given;            /* of it, to libcurl */
        struct buf body;         /* the answer's */
        bool too_large;
        char details[CURL_ERROR_SIZE];
};

/* What transfers of one client share. */
struct transfer_options {
        bool tls12;
        X509_STORE *store;
        struct connections *connections;
};

int transfer_new(const struct http_request *request, const struct transfer_options *options,
                 struct transfer **ret, struct wla_error *err) _must_check_;
struct transfer *transfer_free(struct transfer *transfer);

/* Of one that has finished. */
int transfer_result(struct transfer *transfer, struct http_answer *ret,
                    struct wla_error *err) _must_check_;

/* Whether anything of the request has left, or may have. */
bool transfer_sent(const struct transfer *transfer);
