/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* CONTROL_IMAGE_WRAP and CONTROL_IMAGE_UNWRAP: the volume keys of images, under keys that this host opens.
 *
 * Only identities of images are sealed and opened (image/volume_key.h), so what else a key-encryption key
 * protects cannot be had this way.  Whoever may ask wraps when AllowWrap=yes; root and the daemon's own user
 * unwrap.
 *
 * Ownership: the service must outlive all its calls.  A volume key that is to be wrapped arrives in a
 *            wiping buffer; one that was unwrapped leaves in locked memory.
 * Threads:   the loop thread.
 * Failure:   through done; each call ends with one event in the log.
 */

#include "control/control_connection.h"
#include "key/access.h"

struct image_keys;

struct image_keys_settings {
        bool allow_wrap;
        uint64_t timeout_usec;
};

int image_keys_new(struct key_access *access, const struct image_keys_settings *settings,
                   struct image_keys **ret, struct wla_error *err) _must_check_;
struct image_keys *image_keys_free(struct image_keys *keys);
void image_keys_configure(struct image_keys *keys, const struct image_keys_settings *settings);

/* Lives as long as keys do. */
const struct control_service *image_keys_service(const struct image_keys *keys);
