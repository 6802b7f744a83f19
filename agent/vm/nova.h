/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Instances of OpenStack: the image of a root disk is protected because it is registered, not because the
 * definition says so, and the disk, a layer of Nova's own, has to name the image's mapping while the
 * instance runs.
 *
 * Threads: nova_point() blocks, never beyond the deadline; the rest is pure but for the registry.
 * Failure: WLA_E_UNSUPPORTED for a root disk that is not where Nova has such disks; as registry.h and
 *          client.h say.
 */

#include "vm/domain.h"
#include "vm/launch_disk.h"

/* Adds a line for the root disk when its image is registered: then *ret_header_fd is the header, or -1 for
 * an image that has none.  Else it is -1, too. */
int nova_protect(const char *state_directory, struct domain *domain, int *ret_header_fd,
                 struct wla_error *err) _must_check_;

/* What the disk of an instance names. */
struct nova_target {
        const char *base; /* in Nova's cache; the disk is beside it */
        struct uuid image;
        struct uuid header;
        bool to_mapping;
        enum image_content content; /* with to_mapping, as volume/message.h says */
        uint64_t virtual_size;
};

int nova_point(const struct nova_target *target, const struct launch_place *place,
               struct wla_error *err) _must_check_;
