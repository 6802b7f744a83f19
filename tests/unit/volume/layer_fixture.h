/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Sessions of wlagent-volumed that make, open and remove the layer of a VM's disk vda, in this process and without the
 * kernel's device-mapper: the file that a mapping shows is decrypted when it is made and encrypted again when it goes.
 * Their calls can be failed: fail_call.h, fail_allocation.h.
 *
 * Threads: one.  One fixture at a time.
 */

#include "image/layer_room.h"
#include "volume/session.h"

#define FIXTURE_VM         "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"
#define FIXTURE_IMAGE      "1f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e02"
#define FIXTURE_BACKING_AT 512 /* the name of what is below, in the head of a layer as it is made */

struct layer_fixture {
        char root[64];
        char layers[96];
        struct config config;
        struct wla_secret *key;
        struct session session;
        struct volume_request request;
        struct volumed_reply reply;
        struct wla_error err;
};

struct fixture_device {
        int disk_fd;  /* of the layer while it is mapped; -1 */
        int shown_fd; /* what the mapping shows */
        const struct wla_secret *key;
        char path[128];
        bool exists; /* in another session: for dm_device_find() */
};

extern struct fixture_device fixture_device;

typedef int (*step_function)(struct session *session, struct session_step *step,
                             struct wla_error *err);

void fixture_set_up(struct layer_fixture *fixture);
void fixture_tear_down(struct layer_fixture *fixture);

/* A connection, and what session_run() does when it has ended. */
void fixture_begin(struct layer_fixture *fixture);
void fixture_end(struct layer_fixture *fixture);

/* A step of it, by itself or after an inspection. */
int fixture_take(struct layer_fixture *fixture, step_function function);
int fixture_inspect_and(struct layer_fixture *fixture, step_function function);

/* session_open_layer() for a domain with discard_no_unref. */
int fixture_open_keeping(struct session *session, struct session_step *step, struct wla_error *err);

/* All of a connection. */
void fixture_succeed(struct layer_fixture *fixture, step_function function);
void fixture_remove_layer(struct layer_fixture *fixture);

/* A layer as an older version has left it: short, of version 2, with something in it. */
void fixture_make_older(struct layer_fixture *fixture);

/* It opens, everything that was in it is, and it has that version; 0: any. */
void fixture_check_whole(struct layer_fixture *fixture, uint32_t version);

/* Nothing is open, and who reads why knows which disk it is about and what to do. */
void fixture_check_refusal(const struct layer_fixture *fixture, const char *call);

/* A path in the directory of the VM; valid until the next call. */
const char *fixture_path(const struct layer_fixture *fixture, const char *name);

/* Of the layer's disk. */
off_t fixture_length(const struct layer_fixture *fixture);
struct layer_room fixture_room(void);
