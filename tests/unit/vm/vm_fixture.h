/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What tests of VMs stand on: the double of wlagent-volumed as a process, an image, a key of zeros that
 * opens it, an event loop, and the lifecycle. */

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "key/access.h"
#include "loop/pool.h"
#include "scratch.h"
#include "vm/lifecycle.h"

#define FIXTURE_KEY "image"

struct vm_fixture {
        struct scratch scratch;
        char socket[128];
        char image[VOLUMED_PATH_SIZE];
        struct uuid vm;
        pid_t volumed;
        sd_event *event;
        struct key_routes routes;
        struct pool *pool;
        sd_event_source *pool_source;
        struct key_access *access;
        struct lifecycle *lifecycle;
        size_t heap_used; /* by OpenSSL's generators of random bytes */
};

void vm_fixture_setup(struct vm_fixture *fixture);
void vm_fixture_teardown(struct vm_fixture *fixture);

/* Makes the lifecycle, from the records that are there. */
int vm_fixture_begin(struct vm_fixture *fixture, struct wla_error *err);

/* A line for disk target of the image. */
struct protected_disk vm_fixture_line(const struct vm_fixture *fixture, const char *target,
                                      enum disk_mode mode);

/* Runs the loop until *count is not 0; fails the test when that takes too long. */
void vm_fixture_run(struct vm_fixture *fixture, const int *count);

/* Leases that the double holds. */
unsigned vm_fixture_leases(const struct vm_fixture *fixture);
void vm_fixture_wait_for_leases(struct vm_fixture *fixture, unsigned count);

/* As VOLUMED_DOUBLE's fault file says; NULL: none. */
void vm_fixture_fault(const struct vm_fixture *fixture, const char *fault);
