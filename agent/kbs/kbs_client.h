/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The owner's side of Intel SecL's key broker: makes keys in KBS, and fetches them for whoever encrypts.
 *
 *   POST KBS/keys                 makes an AES-256 key: 201 and its transfer link
 *   POST KBS/keys/ID              5.x: the key, in an envelope for the public key in the body
 *   POST KBS/keys/ID/transfer     3.x and 4.x: the same; in 5.x the route of hosts
 *
 * The transfer link is what images and flavors carry: hosts ask by it.  It is taken from KBS only when it
 * names that very key at the origin under which KBS is known here, for whoever runs another service could
 * otherwise be told of every start of the image, and hosts allow origins that they know.
 *
 * Making a key is not repeated but after a refused token: KBS makes another one each time.
 *
 * Ownership: what the settings borrow outlives the client.
 * Threads:   one at a time.
 * Failure:   as http/http.h, kbs/kbs_answer.h, kbs/envelope_key.h.
 * Source:    Intel SecL 3.6, 4.2 and 5.1, kbs and wpm.
 */

#include "kbs/envelope_key.h"
#include "kbs/key_usage.h"
#include "source/broker_token.h"
#include "source/key_origin.h"

#define KBS_LABEL_MAX 128u
#define KBS_KEY_SIZE  32u /* AES-256, bytes */

struct kbs_client;

struct kbs_settings {
        const char *url;      /* base URL of KBS, without '/' at its end */
        const char *endpoint; /* the one in its links, in that form; NULL: the same */
        struct http_client *http;
        struct broker_token *token;
};

int kbs_client_new(const struct kbs_settings *settings, struct kbs_client **ret,
                   struct wla_error *err) _must_check_;
struct kbs_client *kbs_client_free(struct kbs_client *client);

struct kbs_key {
        struct uuid id;
        struct key_id link;
};

struct kbs_new_key {
        struct key_usage usage;
        const char *label;         /* NULL: none */
        const struct uuid *policy; /* transfer policy; NULL: KBS's own */
};

/* 1 to KBS_LABEL_MAX bytes of UTF-8 without control characters. */
int kbs_label_check(const char *label, struct wla_error *err) _must_check_;

/* When it fails although KBS may have made the key, the text says so.  WLA_E_DENIED, too, when KBS does not say
 * that the key has the usage and the policy that were asked for. */
int kbs_key_make(struct kbs_client *client, const struct kbs_new_key *what,
                 const struct deadline *deadline, struct kbs_key *ret,
                 struct wla_error *err) _must_check_;

/* One that KBS has, or so its owner says: nothing is asked. */
int kbs_key_known(const struct kbs_client *client, const struct uuid *id, struct kbs_key *ret,
                  struct wla_error *err) _must_check_;

/* The key that an image names by its link: one of this KBS, under the name that it has here. */
int kbs_key_linked(const struct kbs_client *client, const struct key_id *link, struct kbs_key *ret,
                   struct wla_error *err) _must_check_;

/* The key itself: KBS_KEY_SIZE bytes. */
int kbs_key_fetch(struct kbs_client *client, const struct uuid *id,
                  const struct envelope_key *envelope, const struct deadline *deadline,
                  struct wla_secret **ret, struct wla_error *err) _must_check_;
