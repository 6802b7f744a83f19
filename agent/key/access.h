/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The front of the key pipeline on the loop thread: cache and single flight.
 *
 * A key in the cache is handed over at once, unless it is asked for anew.  Otherwise the request joins the
 * flight of that key, or starts one on the worker pool; all who wait get the one result.  When the last of them has gone,
 * the flight's deadline is cancelled, and work that no worker has begun is taken back at once: who asks
 * and leaves keeps nobody else out.
 *
 * Threads:   all functions on the loop thread.
 * Ownership: the key is lent to key_ready_fn for the time of the call.
 * Failure:   through key_ready_fn, exactly one call a ticket: key or error, never both.
 */

#include "base/secret.h"
#include "key/request.h"
#include "key/resolve.h"

struct pool;
struct key_access;
struct key_ticket;

/* key is NULL on failure; err is NULL on success. */
typedef void (*key_ready_fn)(void *userdata, const struct wla_secret *key,
                             const struct wla_error *err);

/* Who waits for a key, and until when. */
struct key_waiter {
        uint64_t deadline_usec; /* CLOCK_MONOTONIC */
        key_ready_fn ready;
        void *userdata;
        /* Whether this host may have the key is asked now, as for each start of a VM: the key is not taken out
         * of the cache, and not put there for this one. */
        bool anew;
        /* NULL, or written before ready is called with a key: the flavor that came with it, or {0}.  It has
         * to live as long as the ticket. */
        struct flavor_terms *ret_terms;
};

struct key_access_settings {
        uint64_t cache_usec; /* how long an opened key stays; 0: not at all */
        size_t flights_max;  /* distinct keys being fetched at one time */
        size_t cached_keys_max;
        /* Called when key_access_next_usec() may have become earlier; NULL: nobody wants to know. */
        void (*moved)(void *userdata);
        void *userdata;
};

int key_access_new(const struct key_routes *routes, struct pool *pool,
                   const struct key_access_settings *settings, struct key_access **ret,
                   struct wla_error *err) _must_check_;

/* Wipes the cache.  All tickets must have ended, and the pool must have been drained. */
struct key_access *key_access_free(struct key_access *access);

/* After a reload; keys that would live too long under the new setting are wiped earlier. */
void key_access_configure(struct key_access *access, uint64_t cache_usec);

/* Either calls ready before it returns and gives *ret = NULL, or gives a ticket that is valid until
 * ready is called or the ticket is cancelled. */
void key_access_begin(struct key_access *access, const struct key_id *id,
                      const struct key_peer *peer, const struct key_waiter *waiter,
                      struct key_ticket **ret);

/* The peer has gone or its time is up: ready will not be called. */
void key_ticket_cancel(struct key_ticket *ticket);

/* Wipes keys whose time is up, and fails requests whose time is up and that no worker has begun, so that they
 * hear why; key_access_next_usec() tells when to call again (UINT64_MAX: never).  Both in CLOCK_MONOTONIC. */
void key_access_expire(struct key_access *access, uint64_t now_usec);
uint64_t key_access_next_usec(const struct key_access *access);

/* Wipes all cached keys now.  Keys on their way serve those who wait for them, and are not kept. */
void key_access_forget(struct key_access *access);

struct key_access_counts {
        size_t cached;
        size_t flights;
        size_t waiting;
};
struct key_access_counts key_access_count(const struct key_access *access);
