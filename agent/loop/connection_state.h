/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What connection.c (one connection) and connection_set.c (all of them, their timer) share. */

#include <sys/queue.h>

#include "base/secret.h"
#include "loop/connection.h"
#include "loop/rate_limit.h"

/* What is read and sent at once.  With its length a secret of this size is one block of the heap. */
#define CONNECTION_PIECE (8u * 1024u - 64u)

struct connection {
        LIST_ENTRY(connection) entry;
        struct connection_set *set;
        sd_event_source *source;
        const struct connection_protocol *protocol;
        void *self;
        struct buf unsent;     /* what the peer has not taken yet */
        uint64_t stalled_usec; /* when to give up on unsent */
        int fd;
        bool busy;  /* a function of the protocol is being called */
        bool woken; /* connection_wake() was called */
        struct ucred peer;
};

struct connection_set {
        struct connection_set_options options;
        LIST_HEAD(, connection) connections;
        size_t count;
        sd_event_source *timer;
        uint64_t timer_usec; /* UINT64_MAX: off */
        sd_event_source *wake;
        struct rate_limit broken;
        struct wla_secret *in;
        struct wla_secret *out_memory;
        struct buf out; /* in out_memory, and never larger */
};

/* Lets the protocol act on the time. */
void connection_tick(struct connection *connection, uint64_t now_usec);

/* Sends the output that connection_wake() has announced. */
void connection_flush(struct connection *connection, uint64_t now_usec);
void connection_shutdown(struct connection *connection, uint64_t now_usec);
uint64_t connection_due_usec(const struct connection *connection);

/* Makes the timer fire at that time, or before. */
void connection_set_arm(struct connection_set *set, uint64_t at_usec);
