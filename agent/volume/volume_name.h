/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The names below /dev/mapper that belong to wlagent.
 *
 *   wlagent-image-<header uuid>     an image, read-only, one a host
 *   wlagent-<vm uuid>-<target>      the writable volume of one disk of one VM
 *
 * Threads: pure.  Failure: WLA_E_INPUT.
 */

#include "base/uuid.h"
#include "image/token.h"

#define VOLUME_NAME_PREFIX "wlagent-"
#define VOLUME_NAME_SIZE   64u /* with the terminating zero */
#define VOLUME_DEVICE_ROOT "/dev/mapper/"

enum volume_kind {
        VOLUME_IMAGE,
        VOLUME_DISK,
};

struct volume_name {
        enum volume_kind kind;
        struct uuid uuid;              /* VOLUME_IMAGE: of the header; VOLUME_DISK: of the VM */
        char target[DISK_TARGET_SIZE]; /* VOLUME_DISK */
};

int volume_name_parse(const char *text, struct volume_name *ret,
                      struct wla_error *err) _must_check_;

/* Without VOLUME_DEVICE_ROOT. */
void volume_name_write(const struct volume_name *name, char ret[VOLUME_NAME_SIZE]);
