/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An HTTPS server on the loopback for tests: certificates of its own making, answers byte by byte. */

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum broker_certificate {
        CERTIFICATE_GOOD,
        CERTIFICATE_EXPIRED,
        CERTIFICATE_NOT_YET_VALID,
        CERTIFICATE_OTHER_NAME,
        CERTIFICATE_OTHER_ROOT,
        CERTIFICATE_SELF_SIGNED,
        CERTIFICATE_FOR_CLIENTS,
        CERTIFICATE_RSA_1024,
        CERTIFICATE_SHA1,
        _CERTIFICATE_MAX,
};

struct broker;
struct connection;

/* Called in the connection's thread for each request: head and body, zero-terminated.  False ends the
 * connection.  What connections share is the answerer's to lock. */
typedef bool (*broker_answer_fn)(struct broker *broker, SSL *tls, const char *request);

struct broker_options {
        enum broker_certificate certificate;
        int tls_max; /* TLS1_3_VERSION unless set */
        broker_answer_fn answer;
        const char *raw; /* without answer: what every request gets; the connection ends then */
        size_t raw_size; /* 0: a text */
        bool no_close_notify;
        bool reset;              /* the connection is reset after the answer */
        unsigned handshake_usec; /* how long all connections but the first wait for theirs */
};

#define BROKER_CONNECTIONS_NOTED 16u

struct broker {
        struct broker *next;
        struct broker_options options;
        pthread_t acceptor;
        bool stopped;
        int listener;
        uint16_t port;
        char url[64];
        char root_pem[2048];
        uint8_t leaf_sha384[48];
        SSL_CTX *context;
        _Atomic unsigned connections;
        _Atomic unsigned requests;
        /* When a connection's first bytes were there, CLOCK_MONOTONIC; the first's is not noted. */
        _Atomic uint64_t greeted_usec[BROKER_CONNECTIONS_NOTED];
        pthread_mutex_t lock;
        struct connection *last; /* all that there were; the acceptor's while there is one */
        char seen[4096];         /* the last request; locked */
        broker_answer_fn answer; /* instead of that of the options; locked */
};

struct broker *broker_start(const struct broker_options *options);

/* The last request; valid until the next call. */
const char *broker_seen(struct broker *broker);

void broker_answer_by(struct broker *broker, broker_answer_fn answer);

/* Cuts its connections and waits for their threads, so that none is there when the process looks for lost memory:
 * an answerer that waits for something must have it by then.  The second time nothing happens. */
void broker_stop(struct broker *broker);
