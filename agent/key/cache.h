/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Opened keys that stay in locked memory for a short while, so that a pull of many layers costs one
 * TPM operation.
 *
 * Ownership: the cache owns its keys and lends them until the next call.
 * Threads:   the loop thread.
 */

#include "base/secret.h"
#include "flavor/flavor_verdict.h"
#include "key/key_id.h"

struct key_cache;

/* keys_max: when it is reached, the key that would expire first makes room. */
int key_cache_new(size_t keys_max, struct key_cache **ret, struct wla_error *err) _must_check_;
struct key_cache *key_cache_free(struct key_cache *cache);

/* A key and the flavor that came with it, if any. */
struct cached_key {
        struct key_id id;
        struct wla_secret *key; /* NULL: free place */
        struct flavor_terms terms;
        uint64_t expires_usec;
};

/* NULL when the key is not there or its time is up.  Times in CLOCK_MONOTONIC. */
const struct cached_key *key_cache_find(struct key_cache *cache, const struct key_id *id,
                                        uint64_t now_usec);

/* Takes the key over, in place of an older one of that id. */
void key_cache_put(struct key_cache *cache, const struct cached_key *key);

/* Wipes keys whose time is up, and pulls in the expiry of those that would outlive latest_usec. */
void key_cache_expire(struct key_cache *cache, uint64_t now_usec, uint64_t latest_usec);

/* When the next key expires; UINT64_MAX without keys. */
uint64_t key_cache_next_usec(const struct key_cache *cache);

void key_cache_forget(struct key_cache *cache);
size_t key_cache_count(const struct key_cache *cache);
