/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What lifecycle.c (operations), opening.c (launches) and confirm.c (what the kernel says) share. */

#include "loop/pool.h"
#include "vm/launch.h"
#include "vm/lifecycle.h"
#include "vm/record.h"

/* As many as libvirt has workers: a launch has one to itself. */
#define VOLUME_WORKERS   20u
#define VOLUME_QUEUE_MAX 128u

struct lifecycle {
        struct lifecycle_options options;
        struct lifecycle_settings settings;
        struct record_store *records;
        struct pool *pool; /* NULL until it is needed */
        sd_event_source *pool_source;
        sd_event_source *lease_timer;
        sd_event_source *confirm_timer;
        struct confirmation *confirmation; /* under way, or NULL */
        uint64_t confirm_pause_usec;       /* before the next attempt after a failed one */
        size_t clear_turn;                 /* the secret with which clearing goes on */
        struct vm_list vms;
};

/* NULL without memory. */
struct vm *lifecycle_find(const struct lifecycle *lifecycle, const struct uuid *uuid);
struct vm *lifecycle_add(struct lifecycle *lifecycle, const struct uuid *uuid, const char *name);

/* With its record.  No launch may be under way. */
void lifecycle_forget(struct vm *vm);

/* Forgets a VM of which nothing is open or being opened. */
void lifecycle_tidy(struct vm *vm);

/* What has kept launches of this VM from beginning has ended. */
void lifecycle_go_on(struct vm *vm);

/* A disk that is not this VM's any more; one of Nova's is given back. */
void lifecycle_drop_disk(struct vm *vm, struct vm_disk *disk);

/* All of them, but for secrets of which nobody has said yet that they are cleared: those are asked for. */
void lifecycle_drop_all(struct vm *vm);

/* A record that cannot be written is told in the log. */
void lifecycle_note(const struct vm *vm);

/* Makes the pool when there is none. */
int lifecycle_need_pool(struct lifecycle *lifecycle, struct wla_error *err) _must_check_;

/* What becomes of the disk then is for volumed to say: QEMU may have it open by now. */
void lifecycle_end_lease(struct vm_disk *disk);

void lifecycle_arm_leases(struct lifecycle *lifecycle);

/* Asks volumed in so many microseconds which mappings are there; VMs whose disks are gone lose them. */
void lifecycle_confirm_in(struct lifecycle *lifecycle, uint64_t usec);
void lifecycle_cancel_confirmation(struct lifecycle *lifecycle);
int lifecycle_make_confirm_timer(struct lifecycle *lifecycle, struct wla_error *err) _must_check_;
