/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The journal of a VM: RuntimeDirectory/vms/UUID.json, written before each step as what is intended, and
 * gone when nothing of the VM is open any more.  The directory is in memory, as the mappings are: a
 * reboot takes both.
 *
 * Form: what vm_write_json() writes.
 * Ownership: the store keeps its directory open.
 * Threads:   the loop thread.
 * Failure:   WLA_E_SYSTEM, WLA_E_BUSY without memory.  A record that cannot be understood is no failure: it is told in the log and
 *            set aside under another name, for people to look at.
 */

#include "vm/vm.h"

struct record_store;

int record_store_new(const char *runtime_directory, struct record_store **ret,
                     struct wla_error *err) _must_check_;
struct record_store *record_store_free(struct record_store *store);

int record_write(const struct record_store *store, const struct vm *vm,
                 struct wla_error *err) _must_check_;

/* One that is not there is no failure. */
int record_remove(const struct record_store *store, const struct uuid *vm,
                  struct wla_error *err) _must_check_;

/* found takes the VM. */
int record_read_all(const struct record_store *store, void (*found)(void *userdata, struct vm *vm),
                    void *userdata, struct wla_error *err) _must_check_;
