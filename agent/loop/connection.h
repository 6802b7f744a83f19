/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Moves bytes between sockets and protocols that know no sockets (h2_connection, the control
 * protocol).
 *
 * A set holds all connections of one kind, their limit and their one timer.  After a read the protocol
 * is drained and its output written at once; what the peer does not take is kept, wiped when written,
 * and until then nothing more is read or drained.  A peer that takes nothing for CONNECTION_STALL_USEC
 * is closed.  Buffers are wiped after use, for they may hold keys; what is read and sent is in locked memory,
 * only what the peer does not take is not.
 *
 * Ownership: the set owns its connections, a connection its socket and its protocol.  A connection
 *            ends by itself: when the peer closes, when the protocol is finished or fails.
 * Threads:   the loop thread.
 * Failure:   what a peer does wrong closes that connection and is logged at a limited rate.
 */

#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "base/buf.h"
#include "wlagent/error.h"

#define CONNECTION_STALL_USEC UINT64_C(30000000)

struct connection;
struct connection_set;

/* Times are CLOCK_MONOTONIC.  None of them may free the connection; feed, drain and tick may reply on
 * their protocol. */
struct connection_protocol {
        int (*feed)(void *self, const uint8_t *data, size_t size, uint64_t now_usec,
                    struct wla_error *err);
        /* Appends what is ready to be sent, up to out's limit; called until it has nothing more. */
        int (*drain)(void *self, struct buf *out, struct wla_error *err);
        void (*tick)(void *self, uint64_t now_usec);
        uint64_t (*next_usec)(const void *self); /* when to tick; UINT64_MAX: never */
        void (*shutdown)(void *self);            /* finish what is under way, take nothing new */
        bool (*finished)(const void *self);
        void (*free)(void *self); /* also cancels what is under way */
};

struct connection_set_options {
        sd_event *event;
        size_t connections_max; /* a quarter of them is kept for root and the caller's own user */
        void (*closed)(void *userdata); /* a connection has ended; NULL: nobody asks */
        void *userdata;
};

int connection_set_new(const struct connection_set_options *options, struct connection_set **ret,
                       struct wla_error *err) _must_check_;

/* Closes all connections.  Accepts and returns NULL. */
struct connection_set *connection_set_free(struct connection_set *set);

size_t connection_set_count(const struct connection_set *set);
void connection_set_limit(struct connection_set *set, size_t connections_max);

/* Shuts every protocol down; each connection closes when its protocol has finished. */
void connection_set_shutdown(struct connection_set *set);

/* Shuts down the protocols of those users whom allows() refuses. */
void connection_set_review(struct connection_set *set,
                           bool (*allows)(const void *userdata, uid_t uid), const void *userdata);

/* Takes fd in any case.  WLA_E_BUSY when the set is full; for users other than root and the caller's own
 * also when only the part of those two is free, or when that user has a quarter of all (at least one)
 * already: nobody can keep the others out.  Then either connection_serve() or
 * connection_close() has to follow. */
int connection_new(struct connection_set *set, int fd, const struct ucred *peer,
                   struct connection **ret, struct wla_error *err) _must_check_;

/* Gives the protocol to the connection and reads what the peer has already sent.  The connection may
 * have ended on return. */
void connection_serve(struct connection *connection, const struct connection_protocol *protocol,
                      void *self);

/* Output has appeared outside the protocol's functions; it is sent in the next round of the loop.
 * Takes a struct connection. */
void connection_wake(void *connection);

void connection_close(struct connection *connection);
