/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which brokers a key id of the form https://... may name, and the URL that is told to one.
 *
 * A key id comes from an image, so from whoever made the image.  It chooses among the origins that the
 * host's operator has listed and names a key there; nothing else of it leaves the host.  The path has to
 * be one of Intel SecL's key transfer links:
 *
 *   https://HOST[:PORT]/[PREFIX/...]keys/UUID/transfer
 *
 * with one UUID, of version 4, and segments of unreserved characters (RFC 3986).  Empty segments are
 * dropped: wpm writes "//" before keys, and KBS answers such a path with 404.
 *
 * Pure functions.  Failure: WLA_E_INPUT; _DENIED for an origin that is not listed.
 */

#include "base/uuid.h"
#include "key/key_id.h"

#define KEY_ORIGIN_TEXT_SIZE 272u
#define KEY_ORIGINS_MAX      16u
#define HTTPS_PORT           443u

struct key_origin {
        char text[KEY_ORIGIN_TEXT_SIZE]; /* https://host:port, lower case, with the port */
};

struct key_origins {
        size_t count;
        struct key_origin origins[KEY_ORIGINS_MAX];
};

struct key_link {
        struct uuid key;
        char url[KEY_ID_TEXT_MAX + 8]; /* rebuilt from the origin as listed; the port is explicit */
};

/* https://HOST[:PORT], without a path; a name, an IPv4 or a bracketed IPv6 address. */
int key_origin_parse(const char *text, size_t size, struct key_origin *ret,
                     struct wla_error *err) _must_check_;

/* Origins separated by white space; none is fine: then no key id is allowed. */
int key_origins_parse(const char *text, struct key_origins *ret,
                      struct wla_error *err) _must_check_;

/* The base URL of a service from the configuration: an origin and perhaps a path, written with or without
 * '/' at its end; ret without, and with the port. */
#define BROKER_URL_SIZE 512u
int broker_url_parse(const char *text, char ret[BROKER_URL_SIZE],
                     struct wla_error *err) _must_check_;

/* Of any origin: the link of a broker that nobody is told of.  id is of KEY_SCHEME_HTTPS. */
int key_link_read(const struct key_id *id, struct key_link *ret,
                  struct wla_error *err) _must_check_;

/* The same, of an origin that is allowed. */
int key_link_parse(const struct key_id *id, const struct key_origins *allowed, struct key_link *ret,
                   struct wla_error *err) _must_check_;
