/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which key a request is about: parsed once from what an image's owner wrote, typed ever after.
 *
 *   local:///NAME                    the local key store
 *   https://HOST[:PORT]/PATH         Intel SecL's key transfer link
 *   kbs:///REPOSITORY/TYPE/TAG       Confidential Containers' resource
 *   wls:///images/UUID               the key of a VM's image, which Intel SecL's WLS knows by that UUID, of
 *                                    version 4: it comes with the image's flavor (flavor/flavor.h)
 *
 * The text comes from a registry and is hostile until parsed: printable ASCII only, bounded, no path
 * characters in a name.  It selects a key; it never selects a network destination or a file.
 *
 * Pure functions.  Failure: WLA_E_INPUT; the text quotes at most the scheme.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/uuid.h"
#include "wlagent/error.h"

enum key_scheme {
        KEY_SCHEME_LOCAL,
        KEY_SCHEME_HTTPS,
        KEY_SCHEME_KBS,
        KEY_SCHEME_WLS,
        _KEY_SCHEME_MAX,
};

#define KEY_ID_TEXT_MAX 512u
#define KEY_NAME_MAX    64u

struct key_id {
        enum key_scheme scheme;
        char text[KEY_ID_TEXT_MAX + 1];    /* canonical: equal ids have equal texts */
        char local_name[KEY_NAME_MAX + 1]; /* KEY_SCHEME_LOCAL only */
        struct uuid image;                 /* KEY_SCHEME_WLS only */
};

int key_id_parse(const char *text, size_t size, struct key_id *ret,
                 struct wla_error *err) _must_check_;

/* The id of a key in the local store. */
int key_id_local(const char *name, struct key_id *ret, struct wla_error *err) _must_check_;

/* That of an image, whose UUID has to be of version 4. */
int key_id_image(const struct uuid *image, struct key_id *ret, struct wla_error *err) _must_check_;

/* Letters, digits, '.', '_', '-'; 1..KEY_NAME_MAX characters; a letter or digit first. */
bool key_name_valid(const char *name, size_t size);

bool key_id_equal(const struct key_id *a, const struct key_id *b);

/* "local", "https", "kbs", "wls". */
const char *key_scheme_name(enum key_scheme scheme);
