/* SPDX-License-Identifier: Apache-2.0 */
#include "key/cache.h"

#include <stdint.h>
#include <stdlib.h>

struct key_cache {
        size_t keys_max;
        struct cached_key keys[];
};

int key_cache_new(size_t keys_max, struct key_cache **ret, struct wla_error *err) {
        struct key_cache *cache = calloc(1, sizeof(*cache) + keys_max * sizeof(cache->keys[0]));

        if (!cache)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        cache->keys_max = keys_max;
        *ret = cache;
        return 0;
}

struct key_cache *key_cache_free(struct key_cache *cache) {
        if (cache)
                key_cache_forget(cache);
        free(cache);
        return NULL;
}

const struct cached_key *key_cache_find(struct key_cache *cache, const struct key_id *id,
                                        uint64_t now_usec) {
        for (size_t i = 0; i < cache->keys_max; i++)
                if (cache->keys[i].key && cache->keys[i].expires_usec > now_usec &&
                    key_id_equal(&cache->keys[i].id, id))
                        return &cache->keys[i];
        return NULL;
}

/* The place of an older key of that id, else a free one, else that of the key that expires first. */
static struct cached_key *place_for(struct key_cache *cache, const struct key_id *id) {
        struct cached_key *place = &cache->keys[0];

        for (size_t i = 0; i < cache->keys_max; i++) {
                struct cached_key *candidate = &cache->keys[i];

                if (candidate->key && key_id_equal(&candidate->id, id))
                        return candidate;
                if (place->key &&
                    (!candidate->key || candidate->expires_usec < place->expires_usec))
                        place = candidate;
        }
        return place;
}

void key_cache_put(struct key_cache *cache, const struct cached_key *key) {
        struct cached_key *place = place_for(cache, &key->id);

        wla_secret_free(place->key);
        *place = *key;
}

void key_cache_expire(struct key_cache *cache, uint64_t now_usec, uint64_t latest_usec) {
        for (size_t i = 0; i < cache->keys_max; i++) {
                struct cached_key *cached = &cache->keys[i];

                if (cached->expires_usec > latest_usec)
                        cached->expires_usec = latest_usec;
                if (cached->expires_usec <= now_usec)
                        cached->key = wla_secret_free(cached->key);
        }
}

uint64_t key_cache_next_usec(const struct key_cache *cache) {
        uint64_t next = UINT64_MAX;

        for (size_t i = 0; i < cache->keys_max; i++)
                if (cache->keys[i].key && cache->keys[i].expires_usec < next)
                        next = cache->keys[i].expires_usec;
        return next;
}

void key_cache_forget(struct key_cache *cache) {
        for (size_t i = 0; i < cache->keys_max; i++)
                cache->keys[i].key = wla_secret_free(cache->keys[i].key);
}

size_t key_cache_count(const struct key_cache *cache) {
        size_t count = 0;

        for (size_t i = 0; i < cache->keys_max; i++)
                count += cache->keys[i].key != NULL;
        return count;
}
