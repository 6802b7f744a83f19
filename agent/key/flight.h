/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One fetch and one opening of one key, shared by all who wait for it.
 *
 * Ownership: a flight frees itself after landing; a ticket is valid until its ready function is called
 *            or it is cancelled.
 * Threads:   the loop thread; the work itself runs on the pool.
 */

#include "key/access.h"
#include "loop/pool.h"

struct key_flight;

/* Called once, before the tickets are served: returns the key for them, or NULL after a failure.  To keep
 * the key it sets *key to NULL, and keeps it valid until it returns to the loop. */
typedef const struct wla_secret *(*key_landed_fn)(void *userdata, struct key_flight *flight,
                                                  struct wla_secret **key);

struct key_flight_options {
        struct pool *pool;
        const struct key_routes *routes;
        key_landed_fn landed;
        void *userdata;
};

int key_flight_start(const struct key_flight_options *options, const struct key_id *id,
                     const struct key_peer *peer, const struct key_waiter *waiter,
                     struct key_flight **ret, struct key_ticket **ret_ticket,
                     struct wla_error *err) _must_check_;

int key_flight_join(struct key_flight *flight, const struct key_waiter *waiter,
                    struct key_ticket **ret, struct wla_error *err) _must_check_;

/* When it has to be expired unless it has landed: its deadline; UINT64_MAX once a worker has begun it. */
uint64_t key_flight_due_usec(const struct key_flight *flight);

/* Lands it if no worker has begun it; false otherwise: then it lands by itself. */
bool key_flight_expire(struct key_flight *flight);

/* Whether a request for id can still join: everyone may have left, and the work been cancelled. */
bool key_flight_serves(const struct key_flight *flight, const struct key_id *id);

/* Its key serves those who wait for it now, is not to be kept, and nobody joins any more. */
void key_flight_forget(struct key_flight *flight);

/* Whether its key is for the cache: not once it is forgotten, nor when all who asked want it anew. */
bool key_flight_keeps(const struct key_flight *flight);

const struct key_id *key_flight_id(const struct key_flight *flight);

/* After landing: what came with the key. */
const struct flavor_terms *key_flight_terms(const struct key_flight *flight);
size_t key_flight_waiting(const struct key_flight *flight);
