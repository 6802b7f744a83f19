/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An image's owner at work with the key broker: configuration, login, and the key that is encrypted with.
 *
 * Nothing of it needs root, a TPM or wlagentd.
 *
 * Ownership: owner_close() ends a session; what it gave out is its caller's.
 * Threads:   one, besides that of the HTTP client.
 * Failure:   as owner_config.h and kbs/kbs_client.h.
 */

#include "cli/distinct_files.h"
#include "cli/owner_config.h"
#include "kbs/kbs_client.h"
#include "kbs/key_choice.h"

struct owner {
        struct owner_config config;
        struct http_client *http;
        struct broker_token *token;
        struct kbs_client *kbs;
};

/* url: base URL of KBS; NULL, or "configured": KBS_BASE_URL.  written: what the command writes, which none of the files
 * of the configuration may be; NULL: nothing. */
int owner_open(const char *url, const struct used_files *written, struct owner *ret,
               struct wla_error *err) _must_check_;
void owner_close(struct owner *owner);

#define _cleanup_owner_ __attribute__((cleanup(owner_close)))

struct owner_key_wish {
        struct key_choice choice;
        const char *label;         /* of a new key; NULL: none */
        const struct uuid *policy; /* of a new key; NULL: none */
};

struct owner_key {
        struct kbs_key kbs;
        bool made;                 /* by this */
        struct wla_secret *secret; /* NULL until it was fetched */
};

void owner_key_clear(struct owner_key *key);

#define _cleanup_owner_key_ __attribute__((cleanup(owner_key_clear)))

/* Makes the key where it is wished; ret->secret stays NULL. */
int owner_key_make(struct owner *owner, const struct owner_key_wish *wish, struct owner_key *ret,
                   struct wla_error *err) _must_check_;

/* That, and fetches it. */
int owner_key_get(struct owner *owner, const struct owner_key_wish *wish, struct owner_key *ret,
                  struct wla_error *err) _must_check_;

/* Fetches a key that is in KBS. */
int owner_key_fetch(struct owner *owner, const struct uuid *id, struct wla_secret **ret,
                    struct wla_error *err) _must_check_;

/* What failed with a key that was made for it: the text says what became of the key.  Returns -1. */
int owner_key_unused(const struct owner_key *key, struct wla_error *err);
