/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One command of vm_service.h on its way, and those that are not about a start.  Private to
 * agent/vm/vm_service.c and the files of its commands.
 *
 * Ownership: a call is its own until it is answered or cancelled.
 * Threads:   the loop thread.
 */

#include "control/control_connection.h"
#include "vm/errand.h"
#include "vm/lifecycle.h"
#include "vm/orphans.h"

struct vm_service;
struct service_call;

/* Where a command comes from and goes to. */
struct service_context {
        struct vm_service *service;
        const struct control_request *request;
        control_done_fn done;
        void *userdata;
        void **ret; /* of control_service.begin; NULL there until the call stays */
};

/* Embedded first in a command's own struct. */
struct service_call {
        control_done_fn done; /* NULL: nobody waits any more */
        void *userdata;
        void (*cancel)(struct service_call *call);
};

struct lifecycle *vm_service_lifecycle(const struct vm_service *service);
struct orphans *vm_service_orphans(const struct vm_service *service);
uint64_t vm_service_orphan_usec(const struct vm_service *service);
const char *vm_service_volume_socket(const struct vm_service *service);

/* Answers a command that has no call, or whose call has ended. */
void service_answer(const struct service_context *context, int outcome,
                    const struct wla_error *err);

/* Answers whoever still waits; text, which may be NULL, is taken. */
void service_call_answer(const struct service_call *call, struct buf *text,
                         const struct wla_error *err);

/* Opens disks; answers with device, when it is not "", once they are open. */
void service_open(const struct service_context *context, struct vm_order *order,
                  const char *device);

/* Takes a call that goes on by itself when it is cancelled, and frees itself. */
void service_stay(const struct service_context *context, struct service_call *call);

void volume_open_command(const struct service_context *context);
void volume_close_command(const struct service_context *context);
void volumes_command(const struct service_context *context);
void layer_remove_command(const struct service_context *context);
void domains_command(const struct service_context *context);
