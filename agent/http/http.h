/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* HTTPS to key brokers, over libcurl: one thread, one set of connections, any number of callers.
 *
 * Only https, TLS 1.3 unless the settings allow 1.2, host names checked, no redirects, no cookies, no
 * content encodings, and no request made twice; a proxy is taken from the environment, as curl does (https_proxy,
 * no_proxy).
 * Connections are kept and shared; over HTTP/2 requests to one broker share one.  Where it takes several,
 * they are opened one after the other, or, to a broker that is far away, a few milliseconds apart.
 *
 * Ownership: a client outlives its calls.  A call that its caller has given up is ended and freed by the
 *            client's thread: nobody waits for a broker, a resolver or a proxy beyond the deadline.
 *            Bodies of requests, which may hold a password, are copied to locked memory; what libcurl
 *            makes of them and of headers is wiped when it is freed, and not locked.
 * Threads:   http_perform() from any thread but the loop's; the others on the loop thread.
 * Failure:   WLA_E_TIMEOUT, _UNAVAILABLE (no answer, or one that broke off), _DENIED (the broker's
 *            certificate is not to be trusted), _INPUT (a URL that is none, an answer that is no HTTP
 *            or above its limit), _SYSTEM, _BUSY.  A status is no failure.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/secret.h"
#include "wlagent/error.h"

#define HTTP_PIN_SIZE 48u /* SHA-384 */

struct http_client;

struct http_settings {
        const char *trust_directory; /* PEM certificates besides the system's; NULL: only those */
        bool tls12;                  /* for brokers that do not know TLS 1.3 */
};

/* An empty or unreadable trust directory, or one with a file that holds no certificate, is an error. */
int http_client_new(const struct http_settings *settings, struct http_client **ret,
                    struct wla_error *err) _must_check_;

/* Ends calls under way. */
struct http_client *http_client_free(struct http_client *client);

struct http_request {
        const char *method; /* "GET" or "POST" */
        const char *url;
        const char *const *headers; /* "Name: value", NULL at the end */
        /* One more such line, terminated, that holds a token; NULL: none. */
        const struct wla_secret *secret_header;
        struct wla_bytes body; /* POST */
        size_t answer_max;     /* bytes */
        /* SHA-384 of the DER of the broker's own certificate, judged before anything is sent, instead
         * of its chain and name; NULL: chain and name.  A refusal tells both digests. */
        const uint8_t *pin;
        const struct deadline *deadline;
        uint64_t longest_usec; /* given up after that, though the deadline is later; 0: not so */
        bool yields; /* its caller tries again: it does not keep a silent connection open for others */
};

struct http_answer {
        unsigned status;
        char content_type[128]; /* "" when there is none, or when it is longer */
        struct buf body;
        /* On failure: the request may have reached the broker. */
        bool sent;
};

static inline void http_answer_clear(struct http_answer *answer) {
        buf_clear(&answer->body);
}

#define _cleanup_answer_ __attribute__((cleanup(http_answer_clear)))

/* Whether its body has that part. */
bool http_answer_says(const struct http_answer *answer, const char *part);

/* *ret is {0} on entry. */
int http_perform(struct http_client *client, const struct http_request *request,
                 struct http_answer *ret, struct wla_error *err) _must_check_;
