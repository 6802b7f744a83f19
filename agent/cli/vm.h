/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The commands below "wlagent vm".  Two programs share their rows, so that help, completion and the check
 * of the command line are the same in both: wlagent hands each command to wlagent-vm (vm_program.c), and
 * wlagent-vm, which is linked with libvirt, carries it out (agent/vm_admin).
 */

#include "cli/command.h"

/* The places of the options in struct arguments. */
enum vm_protect_option {
        VM_PROTECT_DISK,
        VM_PROTECT_IMAGE,
        VM_PROTECT_MODE,
        VM_PROTECT_KEY,
        VM_PROTECT_HEADER,
        VM_PROTECT_SECRET,
        VM_PROTECT_CONNECT,
        VM_PROTECT_DRY_RUN,
        VM_PROTECT_JSON,
};

enum vm_unprotect_option {
        VM_UNPROTECT_DISK,
        VM_UNPROTECT_CONNECT,
        VM_UNPROTECT_DRY_RUN,
        VM_UNPROTECT_JSON,
};

enum vm_list_option {
        VM_LIST_CONNECT,
        VM_LIST_JSON,
};

enum vm_reconcile_option {
        VM_RECONCILE_CONNECT,
};

extern const struct command command_vm_protect;
extern const struct command command_vm_unprotect;
extern const struct command command_vm_list;
extern const struct command command_vm_reconcile;
extern const struct command command_vm_names;

enum outcome vm_protect(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err);
enum outcome vm_unprotect(struct invocation *invocation, const struct arguments *arguments,
                          struct wla_error *err);
enum outcome vm_list(struct invocation *invocation, const struct arguments *arguments,
                     struct wla_error *err);
enum outcome vm_reconcile(struct invocation *invocation, const struct arguments *arguments,
                          struct wla_error *err);
enum outcome vm_names(struct invocation *invocation, const struct arguments *arguments,
                      struct wla_error *err);
