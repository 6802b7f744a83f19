/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The key-encryption key of an image: the owner's, from a file, or one that wlagentd opens on this host.
 *
 * With wlagentd the volume key crosses its control socket, in locked memory on either side.
 * Failure: as input.h and control_client.h; WLA_E_DENIED when a key does not open.
 */

#include "cli/image_key_place.h"
#include "cli/invocation.h"
#include "image/volume_key.h"

/* For whoever encrypts with a file that holds no key. */
#define IMAGE_KEY_HINT "make one with 'openssl rand -out FILE 32'"

/* A key id, or the name of a key in the local store. */
int image_key_id(const char *text, struct key_id *ret, struct wla_error *err) _must_check_;

/* key_file: 32 raw bytes, "-" for standard input; NULL asks wlagentd.  Fills token->wrapped. */
int image_key_seal(struct invocation *invocation, const char *key_file, const struct uuid *header,
                   const struct wla_secret *volume_key, struct image_token *token,
                   struct wla_error *err) _must_check_;

/* place: nowhere asks wlagentd. */
int image_key_open(struct invocation *invocation, const struct image_key_place *place,
                   const struct luks2_header *header, struct wla_secret **ret,
                   struct wla_error *err) _must_check_;
