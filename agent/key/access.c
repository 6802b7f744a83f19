/* SPDX-License-Identifier: Apache-2.0 */
#include "key/access.h"

#include <assert.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "key/cache.h"
#include "key/flight.h"

struct key_access {
        struct key_flight_options flight_options;
        struct key_access_settings settings;
        struct key_cache *cache;
        size_t flight_count;
        struct key_flight *flights[]; /* settings.flights_max at birth */
};

static const struct wla_secret *flight_landed(void *userdata, struct key_flight *flight,
                                              struct wla_secret **key) {
        struct key_access *access = userdata;
        size_t at = 0;

        while (access->flights[at] != flight)
                at++;
        access->flights[at] = access->flights[--access->flight_count];

        if (!*key || access->settings.cache_usec == 0 || !key_flight_keeps(flight))
                return *key;

        const struct cached_key cached = {
                .id = *key_flight_id(flight),
                .key = *key,
                .terms = *key_flight_terms(flight),
                .expires_usec = clock_now_usec() + access->settings.cache_usec,
        };
        *key = NULL;
        key_cache_put(access->cache, &cached);
        return cached.key;
}

int key_access_new(const struct key_routes *routes, struct pool *pool,
                   const struct key_access_settings *settings, struct key_access **ret,
                   struct wla_error *err) {
        struct key_access *access = calloc(
                1, sizeof(*access) + settings->flights_max * sizeof(struct key_flight *));

        if (!access)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (key_cache_new(settings->cached_keys_max, &access->cache, err) < 0) {
                free(access);
                return -1;
        }

        access->settings = *settings;
        access->flight_options = (struct key_flight_options){
                .pool = pool,
                .routes = routes,
                .landed = flight_landed,
                .userdata = access,
        };
        *ret = access;
        return 0;
}

struct key_access *key_access_free(struct key_access *access) {
        if (!access)
                return NULL;

        assert(access->flight_count == 0);
        key_cache_free(access->cache);
        free(access);
        return NULL;
}

void key_access_configure(struct key_access *access, uint64_t cache_usec) {
        uint64_t now_usec = clock_now_usec();

        access->settings.cache_usec = cache_usec;
        key_cache_expire(access->cache, now_usec, now_usec + cache_usec);
}

static struct key_flight *find_flight(struct key_access *access, const struct key_id *id) {
        for (size_t i = 0; i < access->flight_count; i++)
                if (key_flight_serves(access->flights[i], id))
                        return access->flights[i];
        return NULL;
}

static int start_flight(struct key_access *access, const struct key_id *id,
                        const struct key_peer *peer, const struct key_waiter *waiter,
                        struct key_ticket **ret, struct wla_error *err) {
        if (access->flight_count == access->settings.flights_max)
                return wla_fail_hint(err, WLA_E_BUSY, "try again later",
                                     "%zu keys are being opened already", access->flight_count);

        struct key_flight *flight;
        if (key_flight_start(&access->flight_options, id, peer, waiter, &flight, ret, err) < 0)
                return -1;

        access->flights[access->flight_count++] = flight;
        if (access->settings.moved)
                access->settings.moved(access->settings.userdata);
        return 0;
}

void key_access_begin(struct key_access *access, const struct key_id *id,
                      const struct key_peer *peer, const struct key_waiter *waiter,
                      struct key_ticket **ret) {
        const struct cached_key *cached = waiter->anew ? NULL
                                                       : key_cache_find(access->cache, id,
                                                                        clock_now_usec());
        struct wla_error err = {0};

        *ret = NULL;
        if (cached) {
                metrics_count(METRIC_KEY_CACHE_HITS, 0, 0);
                if (waiter->ret_terms)
                        *waiter->ret_terms = cached->terms;
                waiter->ready(waiter->userdata, cached->key, NULL);
                return;
        }

        struct key_flight *flight = find_flight(access, id);
        metrics_count(flight ? METRIC_KEY_FLIGHTS_JOINED : METRIC_KEY_CACHE_MISSES, 0, 0);
        int outcome = flight ? key_flight_join(flight, waiter, ret, &err)
                             : start_flight(access, id, peer, waiter, ret, &err);
        if (outcome < 0) {
                (void)wla_wrap(&err, "opening %s", id->text);
                waiter->ready(waiter->userdata, NULL, &err);
        }
}

/* A flight that lands can start others: the search begins anew. */
static bool expire_one_flight(struct key_access *access, uint64_t now_usec) {
        for (size_t i = 0; i < access->flight_count; i++)
                if (key_flight_due_usec(access->flights[i]) <= now_usec &&
                    key_flight_expire(access->flights[i]))
                        return true;
        return false;
}

void key_access_expire(struct key_access *access, uint64_t now_usec) {
        key_cache_expire(access->cache, now_usec, UINT64_MAX);
        while (expire_one_flight(access, now_usec))
                ;
}

uint64_t key_access_next_usec(const struct key_access *access) {
        uint64_t next_usec = key_cache_next_usec(access->cache);

        for (size_t i = 0; i < access->flight_count; i++) {
                uint64_t due_usec = key_flight_due_usec(access->flights[i]);

                if (due_usec < next_usec)
                        next_usec = due_usec;
        }
        return next_usec;
}

void key_access_forget(struct key_access *access) {
        key_cache_forget(access->cache);
        for (size_t i = 0; i < access->flight_count; i++)
                key_flight_forget(access->flights[i]);
}

struct key_access_counts key_access_count(const struct key_access *access) {
        struct key_access_counts counts = {
                .cached = key_cache_count(access->cache),
                .flights = access->flight_count,
        };

        for (size_t i = 0; i < access->flight_count; i++)
                counts.waiting += key_flight_waiting(access->flights[i]);
        return counts;
}
