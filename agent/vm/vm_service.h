/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The commands of the control socket that are about VMs and volumes (wlagent/control.h): what arrives is
 * parsed here, what it asks for is done by lifecycle.h.
 *
 * Ownership: lifecycle and paths are borrowed.  The service lives until lifecycle_free() has returned, and
 *            calls nothing of it then.
 * Threads:   the loop thread.
 * Failure:   as the answer of the call; launches that are refused are events in the journal.
 */

#include "control/control_connection.h"
#include "vm/lifecycle.h"

struct vm_service;

struct vm_service_options {
        struct lifecycle *lifecycle;
        const char *state_directory;
        const char *volume_socket; /* of volumed */
};

struct vm_service_settings {
        uint64_t launch_timeout_usec;
        uint64_t orphan_usec; /* how long a layer is kept that libvirt knows no VM for */
};

int vm_service_new(const struct vm_service_options *options,
                   const struct vm_service_settings *settings, struct vm_service **ret,
                   struct wla_error *err) _must_check_;
struct vm_service *vm_service_free(struct vm_service *service);

/* After a reload. */
void vm_service_configure(struct vm_service *service, const struct vm_service_settings *settings);

const struct control_service *vm_service_as_control(const struct vm_service *service);
