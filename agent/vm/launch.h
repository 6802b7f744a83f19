/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Opens disks: inspects all of them, has their keys opened, then maps all of them.  All or none.
 *
 * Ownership: a launch is its own until done is called; then it is the callee's, who takes the sessions of
 *            its disks and frees it.  Everything borrowed outlives it.
 * Threads:   the loop thread; inspection and mapping run on the pool.
 * Failure:   through done, exactly one call a launch; then nothing is open any more.
 */

#include "key/access.h"
#include "loop/pool.h"
#include "vm/launch_disk.h"

struct launch;

struct launch_options {
        struct pool *pool;
        struct key_access *access;
        const char *socket; /* of volumed */
        struct uuid vm;
        bool arriving;          /* for a VM that another host sends */
        bool replaces;          /* as launch_place says */
        struct key_peer peer;   /* who asked */
        uint64_t deadline_usec; /* CLOCK_MONOTONIC */
        /* All keys are there, nothing is mapped yet.  Failure ends the launch. */
        int (*intend)(void *userdata, const struct launch *launch, struct wla_error *err);
        /* err is NULL on success. */
        void (*done)(void *userdata, struct launch *launch, const struct wla_error *err);
        void *userdata;
};

/* header_fds: NULL, or one for each disk, -1 for most; taken in any case. */
int launch_begin(const struct launch_options *options, const struct protected_disk *disks,
                 const int *header_fds, size_t disk_count, struct launch **ret,
                 struct wla_error *err) _must_check_;

/* done is called soon, perhaps before this returns. */
void launch_cancel(struct launch *launch);

/* How long each stage has taken, as far as it has come. */
struct launch_times {
        uint64_t inspect_usec;
        uint64_t key_usec;
        uint64_t open_usec;
};

struct launch_times launch_times(const struct launch *launch);

struct launch *launch_free(struct launch *launch);

size_t launch_disk_count(const struct launch *launch);
struct launch_disk *launch_disk_at(struct launch *launch, size_t at);
const struct launch_disk *launch_disk_look(const struct launch *launch, size_t at);
