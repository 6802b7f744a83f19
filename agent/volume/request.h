/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A request of volume/message.h as typed values, and when it is permitted.
 *
 * What arrives is hostile until volume_request_read() has passed it: one operation, the fields that it
 * uses in canonical form, every other byte zero.  The key stays behind in locked memory; only its size is
 * told here.
 *
 * Threads: pure.  Failure: WLA_E_INPUT naming the field.
 */

#include "volume/message.h"

struct layer_request {
        struct uuid image;
        bool ephemeral;
        enum image_content backing_content;
        bool keeps_places;
        uint64_t virtual_size;
        struct wrapped_volume_key wrapped; /* zero when ephemeral */
};

struct nova_request {
        struct uuid image; /* in Glance */
        bool to_mapping;
        enum image_content content;
        uint64_t virtual_size;
};

struct volume_request {
        enum volumed_operation operation;
        struct uuid vm;
        char target[DISK_TARGET_SIZE];
        struct volume_name name;
        char path[VOLUMED_PATH_SIZE];   /* absolute, without empty, "." and ".." components */
        char header[VOLUMED_PATH_SIZE]; /* the same, or "" */
        struct layer_request layer;
        struct nova_request nova;
        struct key_id key_id;
        struct uuid secret;
        size_t key_size;
};

/* Bytes of a request in front of its key. */
#define VOLUMED_REQUEST_OPEN_SIZE offsetof(struct volumed_request, key)

/* Does not look at wire->key. */
int volume_request_read(const struct volumed_request *wire, struct volume_request *ret,
                        struct wla_error *err) _must_check_;

/* Where a session stands; the table is in volume/message.h. */
enum session_state {
        SESSION_NEW,
        SESSION_IMAGE,
        SESSION_LAYER,
        SESSION_NO_LAYER,
        SESSION_OPEN,
        _SESSION_STATE_MAX,
};

bool session_permits(enum session_state state, enum volumed_operation operation);
