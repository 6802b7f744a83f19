/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The images of OpenStack that this host knows: StateDirectory/images/UUID.header, UUID being Glance's, and
 * UUID.wls where the image has its key, and a flavor, from WLS by that UUID.  Without a header of its own, in
 * Intel's format, it has an empty one (vm/registry.h).
 *
 * Ownership: image_registry_open() fills a struct to close with image_registry_close().
 * Threads:   one.
 * Failure:   WLA_E_NOT_FOUND, WLA_E_INPUT when one is there already, WLA_E_SYSTEM.
 */

#include "base/buf.h"
#include "base/uuid.h"

struct image_registry {
        int fd;
};

#define IMAGE_REGISTRY_CLOSED ((struct image_registry){.fd = -1})

/* With create false a directory that does not exist is no error: fd stays -1, and it lists as empty. */
int image_registry_open(const char *state_directory, bool create, struct image_registry *ret,
                        struct wla_error *err) _must_check_;
void image_registry_close(struct image_registry *registry);

#define _cleanup_image_registry_ __attribute__((cleanup(image_registry_close)))

struct image_registration {
        const struct buf *header; /* empty: the image is in Intel's format */
        bool wls;
        bool replace;
};

/* Whenever it is interrupted, the flavor is asked for where the old or the new registration wants it. */
int image_registry_add(const struct image_registry *registry, const struct uuid *image,
                       const struct image_registration *registration,
                       struct wla_error *err) _must_check_;
int image_registry_remove(const struct image_registry *registry, const struct uuid *image,
                          struct wla_error *err) _must_check_;
/* Whether its key comes from WLS. */
bool image_registry_uses_wls(const struct image_registry *registry, const struct uuid *image);

int image_registry_read(const struct image_registry *registry, const struct uuid *image,
                        struct buf *header, struct wla_error *err) _must_check_;

struct image_names {
        size_t count;
        struct uuid *names; /* sorted; for free() */
};

int image_registry_list(const struct image_registry *registry, struct image_names *ret,
                        struct wla_error *err) _must_check_;
