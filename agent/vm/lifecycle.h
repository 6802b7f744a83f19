/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The protected VMs of this host, from libvirt's "prepare" to its "release".
 *
 *   prepare, migrate  disks are opened and held (a lease) until the VM runs, or the time is over
 *   start             they have to be held still
 *   migrate           makes layers of its own; one that is there already is in the way, unless the VM had left
 *                     it here.  Until a start has taken the new ones over the VM is expected, also when the
 *                     lease or this process has ended: only such a start is allowed
 *   started           QEMU has them: the lease ends, the kernel keeps the mappings as long as QEMU lives
 *   stopped, release  whatever is left is let go; both may come twice, or for VMs that nobody knows
 *   reconnect         libvirt was restarted and found the VM running
 *
 * One launch a VM: a newer one has the older cancelled, and waits until all that it had opened is
 * closed, so that there are never two writers.  A VM without disks is forgotten.
 *
 * Ownership: the table owns its VMs; a call belongs to it until done is called or the call is cancelled.
 * Threads:   the loop thread; the work is done on a pool of its own, made when it is first needed.
 * Failure:   through done, or as functions say.
 */

#include "key/access.h"
#include "vm/vm.h"

struct lifecycle;
struct trust_reporter;
struct vm_call;

struct lifecycle_settings {
        uint64_t lease_usec;         /* from prepare until started */
        uint64_t migrate_lease_usec; /* from migrate until prepare */
};

struct lifecycle_options {
        sd_event *event;
        struct key_access *access;
        const char *volume_socket; /* of volumed */
        const char *runtime_directory;
        struct trust_reporter *reporter; /* NULL: nobody wants to hear which VMs run */
};

/* Reads the records of a former life, and asks volumed what is still there. */
int lifecycle_new(const struct lifecycle_options *options,
                  const struct lifecycle_settings *settings, struct lifecycle **ret,
                  struct wla_error *err) _must_check_;

/* All calls must have ended.  Ends all leases: VMs that have not started yet do not. */
struct lifecycle *lifecycle_free(struct lifecycle *lifecycle);

/* The reporter is about to go, which may tell of reports once more: nothing is reported from now on.  Accepts
 * NULL. */
void lifecycle_end_reports(struct lifecycle *lifecycle);

/* After a reload; leases that run keep their time. */
void lifecycle_configure(struct lifecycle *lifecycle, const struct lifecycle_settings *settings);

enum vm_opening {
        OPEN_FOR_START,
        OPEN_FOR_MIGRATION,
        OPEN_BY_HAND, /* one disk, whatever the VM is doing */
};

struct vm_order {
        enum vm_opening why;
        struct uuid uuid;
        const char *name;                   /* copied */
        const struct protected_disk *disks; /* copied */
        const int *header_fds;              /* NULL, or as launch.h says; taken in any case */
        size_t disk_count;
        bool left_here;     /* OPEN_FOR_MIGRATION: libvirt here does not know the VM any more */
        uint64_t hold_usec; /* OPEN_BY_HAND; 0: as for a start */
        struct key_peer peer;
        uint64_t deadline_usec; /* CLOCK_MONOTONIC */
        /* err is NULL on success; exactly once, perhaps before lifecycle_open() returns: then *ret is
         * NULL. */
        void (*done)(void *userdata, const struct wla_error *err);
        void *userdata;
};

void lifecycle_open(struct lifecycle *lifecycle, const struct vm_order *order,
                    struct vm_call **ret);

/* Nobody waits any more: done is not called, and what it would have opened is closed. */
void vm_call_cancel(struct vm_call *call);

/* The disks of a domain that starts, which were opened for it. */
int lifecycle_check_start(const struct lifecycle *lifecycle, const struct domain *domain,
                          struct wla_error *err) _must_check_;

/* Before lifecycle_started(): the names of the volumes that are empty but for what another host copies to
 * them, a line each. */
int lifecycle_write_arriving(const struct lifecycle *lifecycle, const struct uuid *vm,
                             struct buf *names, struct wla_error *err) _must_check_;
void lifecycle_started(struct lifecycle *lifecycle, const struct uuid *vm);
void lifecycle_stopped(struct lifecycle *lifecycle, const struct uuid *vm);
void lifecycle_released(struct lifecycle *lifecycle, const struct uuid *vm);
/* After lifecycle_released(): what is under way to give Nova its disk back, or NULL. */
struct nova_return *lifecycle_nova_return(const struct lifecycle *lifecycle, const struct uuid *vm);
void lifecycle_reconnected(struct lifecycle *lifecycle, const struct uuid *vm);

/* The same for a VM that lifecycle_knows() nothing of: it was started in another life, whose record is lost.
 * What it has open its definition says, and volumed, who is asked.  nova_header: the UUID of the header of
 * its disk in mode DISK_NOVA. */
void lifecycle_found_running(struct lifecycle *lifecycle, const struct domain *domain,
                             const struct uuid *nova_header);

/* Somebody knows that what is open may have changed: volumed is asked. */
void lifecycle_look_again(struct lifecycle *lifecycle);

/* A volume that is to be closed by hand: ends its lease, and tells whether there was one.  WLA_E_BUSY when
 * it is held for a start. */
int lifecycle_let_go(struct lifecycle *lifecycle, const struct volume_name *name, bool *ret_held,
                     struct wla_error *err) _must_check_;

/* It has been closed. */
void lifecycle_closed_by_hand(struct lifecycle *lifecycle, const struct volume_name *name);

/* The layer has been removed: it is not expected to be filled any more. */
void lifecycle_layer_removed(struct lifecycle *lifecycle, const struct volume_name *name);

/* Whether this VM, and with a target also this disk of it, starts, runs, or is open by hand. */
bool lifecycle_knows(const struct lifecycle *lifecycle, const struct volume_name *name);

/* WLA_E_BUSY when it does, with what it does.  Of the end of a VM libvirt tells after QEMU has ended, and the hook no longer
 * than two seconds (hooks/qemu.c): so volumed is asked, which knows what is open, and a next try finds what has become of
 * it. */
int lifecycle_check_ended(struct lifecycle *lifecycle, const struct uuid *vm,
                          struct wla_error *err) _must_check_;

/* VMs that are known, whatever they do. */
size_t lifecycle_count(const struct lifecycle *lifecycle);

/* Disks that are open, as far as is known. */
size_t lifecycle_open_disks(const struct lifecycle *lifecycle);

/* An array of vm_write_json(). */
int lifecycle_write_json(const struct lifecycle *lifecycle, struct buf *json,
                         struct wla_error *err) _must_check_;
