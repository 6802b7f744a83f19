/* SPDX-License-Identifier: Apache-2.0 */
#include "key/flight.h"

#include <stdlib.h>

struct key_ticket {
        struct key_flight *flight;
        struct key_ticket *next;
        struct key_waiter waiter;
};

struct key_flight {
        struct pool_job job; /* first: the pool hands it back */
        struct key_flight_options options;
        struct key_request request;
        struct pool *pool;
        struct key_ticket *tickets;
        bool forgotten;
        bool for_cache; /* somebody has asked who takes keys out of it */
        bool begun;     /* by a worker, as far as is known here */

        /* Written by the worker, read after it has handed the job back. */
        struct wla_secret *key;
        struct flavor_terms terms;
        struct wla_error err;
};

static const struct key_source *source_of(const struct key_flight *flight) {
        return &flight->options.routes->sources[flight->request.id.scheme];
}

static void fly(struct pool_job *job) {
        struct key_flight *flight = (struct key_flight *)job;

        (void)!key_resolve(flight->options.routes, &flight->request, &flight->key, &flight->terms,
                           &flight->err);
}

static void fail_dropped(struct key_flight *flight) {
        const struct key_source *source = source_of(flight);
        struct wla_error *err = &flight->err;

        if (source->ops && source->ops->obstacle && source->ops->obstacle(source->self, err))
                (void)wla_wrap(err, "fetching %s", flight->request.id.text);
        else
                (void)wla_fail_hint(err, WLA_E_TIMEOUT,
                                    "the host is busy, or its TPM slow; the same request may pass "
                                    "later",
                                    "%s was not opened in time: the request waited too long for "
                                    "its turn",
                                    flight->request.id.text);
}

/* A ready function may end other calls and so cancel tickets of this very flight: each is unlinked
 * before it is served. */
static void land(struct pool_job *job, bool dropped) {
        struct key_flight *flight = (struct key_flight *)job;

        if (dropped)
                fail_dropped(flight);

        const struct wla_secret *key = flight->options.landed(flight->options.userdata, flight,
                                                              &flight->key);

        while (flight->tickets) {
                struct key_ticket ticket = *flight->tickets;

                free(flight->tickets);
                flight->tickets = ticket.next;
                if (key && ticket.waiter.ret_terms)
                        *ticket.waiter.ret_terms = flight->terms;
                ticket.waiter.ready(ticket.waiter.userdata, key, key ? NULL : &flight->err);
        }

        wla_secret_free(flight->key);
        free(flight);
}

int key_flight_start(const struct key_flight_options *options, const struct key_id *id,
                     const struct key_peer *peer, const struct key_waiter *waiter,
                     struct key_flight **ret, struct key_ticket **ret_ticket,
                     struct wla_error *err) {
        struct key_flight *flight = calloc(1, sizeof(*flight));

        if (!flight)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        flight->options = *options;
        flight->request.id = *id;
        flight->request.peer = *peer;
        flight->pool = source_of(flight)->pool ? source_of(flight)->pool : options->pool;
        flight->job = (struct pool_job){
                .run = fly,
                .done = land,
                .deadline = &flight->request.deadline,
        };
        deadline_init(&flight->request.deadline, waiter->deadline_usec);

        struct key_ticket *ticket;
        if (key_flight_join(flight, waiter, &ticket, err) < 0) {
                free(flight);
                return -1;
        }
        if (pool_submit(flight->pool, &flight->job, err) < 0) {
                free(ticket);
                free(flight);
                return -1;
        }
        *ret = flight;
        *ret_ticket = ticket;
        return 0;
}

int key_flight_join(struct key_flight *flight, const struct key_waiter *waiter,
                    struct key_ticket **ret, struct wla_error *err) {
        struct key_ticket *ticket = malloc(sizeof(*ticket));

        if (!ticket)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        *ticket = (struct key_ticket){
                .flight = flight,
                .next = flight->tickets,
                .waiter = *waiter,
        };
        flight->tickets = ticket;
        flight->for_cache |= !waiter->anew;
        deadline_extend(&flight->request.deadline, waiter->deadline_usec);
        *ret = ticket;
        return 0;
}

void key_ticket_cancel(struct key_ticket *ticket) {
        struct key_flight *flight = ticket->flight;
        struct key_ticket **at = &flight->tickets;

        while (*at != ticket)
                at = &(*at)->next;
        *at = ticket->next;
        free(ticket);

        if (flight->tickets)
                return;
        deadline_cancel(&flight->request.deadline);
        if (pool_withdraw(flight->pool, &flight->job))
                land(&flight->job, /* dropped= */ true);
}

uint64_t key_flight_due_usec(const struct key_flight *flight) {
        return flight->begun ? UINT64_MAX : atomic_load(&flight->request.deadline.at_usec);
}

bool key_flight_expire(struct key_flight *flight) {
        if (!pool_withdraw(flight->pool, &flight->job)) {
                flight->begun = true;
                return false;
        }
        land(&flight->job, /* dropped= */ true);
        return true;
}

bool key_flight_serves(const struct key_flight *flight, const struct key_id *id) {
        return !flight->forgotten && !deadline_cancelled(&flight->request.deadline) &&
               key_id_equal(&flight->request.id, id);
}

void key_flight_forget(struct key_flight *flight) {
        flight->forgotten = true;
}

bool key_flight_keeps(const struct key_flight *flight) {
        return flight->for_cache && !flight->forgotten;
}

const struct key_id *key_flight_id(const struct key_flight *flight) {
        return &flight->request.id;
}

const struct flavor_terms *key_flight_terms(const struct key_flight *flight) {
        return &flight->terms;
}

size_t key_flight_waiting(const struct key_flight *flight) {
        size_t count = 0;

        for (const struct key_ticket *ticket = flight->tickets; ticket; ticket = ticket->next)
                count++;
        return count;
}
