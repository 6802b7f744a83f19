/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A protected VM as the agent knows it: what it has open, since when, by which keys.
 *
 *   opening   its disks are being opened: the intent, written before the first of them
 *   open      they are held for libvirt (leases), until it says that the VM runs
 *   running   QEMU holds them; we hold nothing
 *   stopping  QEMU has ended; libvirt still restores labels
 *   expected  another host began to send it and has not come that far; nothing of it is open, and its new
 *             layers are empty
 *
 * Ownership: a VM owns its disks, a disk its lease.
 * Threads:   the loop thread.
 */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "flavor/flavor_verdict.h"
#include "vm/domain.h"
#include "volume/client.h"

enum vm_state {
        VM_OPENING,
        VM_OPEN,
        VM_RUNNING,
        VM_STOPPING,
        VM_EXPECTED,
        _VM_STATE_MAX,
};

struct vm;

/* Sessions with volumed in state open; {0} when there is none. */
struct lease {
        struct volume_session *image;
        struct volume_session *layer; /* NULL in mode direct */
        sd_event_source *image_watch;
        sd_event_source *layer_watch;
        uint64_t until_usec; /* CLOCK_MONOTONIC */
};

struct vm_disk {
        struct vm *vm;
        char target[DISK_TARGET_SIZE];
        char image[VOLUMED_PATH_SIZE];
        struct uuid header; /* of the image; all zero when it is not known */
        enum disk_mode mode;
        struct uuid nova_image;           /* DISK_NOVA: the image in Glance */
        struct uuid secret;               /* DISK_SECRET, which has neither image nor name */
        bool cleared;                     /* DISK_SECRET: it has no value, as volumed has said */
        char key_id[KEY_ID_TEXT_MAX + 1]; /* "": not known */
        char name[VOLUME_NAME_SIZE];      /* of the VM's volume, below VOLUME_DEVICE_ROOT */
        bool by_hand;                     /* opened by CONTROL_VOLUME_OPEN, not for a start */
        struct flavor_verdict flavor;     /* as of this opening; digest_verified once it is open */
        bool arriving;                    /* a new layer, whose content another host has to send */
        bool reported;                    /* the trust report of this start was made */
        struct lease lease;
};

struct vm_call;
struct launch;
struct lifecycle;

struct vm {
        LIST_ENTRY(vm) entry;
        struct lifecycle *lifecycle;
        struct uuid uuid;
        char name[DOMAIN_NAME_SIZE]; /* for messages only; "" when nobody has told it */
        enum vm_state state;
        uint64_t since_sec;   /* in this state; seconds since 1970; while it runs, its start */
        bool since_reconnect; /* it ran before: nothing is known of its start */
        size_t disk_count;
        struct vm_disk *disks[DOMAIN_DISKS_MAX];

        uint64_t changed_usec; /* what is held, or should be, has changed; CLOCK_MONOTONIC */
        uint64_t nova_busy_until_usec; /* its disk was in use: nobody asks again before that */
        bool seen_open;                /* without us, once: what is just ending looks the same */
        bool runs;                     /* in this life libvirt has said so */
        bool was_expected; /* before the launch that is under way, which is for migration */
        bool migrating;    /* opened for migration to this host, and not taken over by a start */
        struct launch *launch;           /* under way */
        struct nova_return *nova_return; /* under way; no launch begins before its end */
        bool launch_by_hand;             /* it opens one more disk, whatever the VM is doing */
        struct vm_call *call;            /* who waits for it; NULL when nobody does any more */
        struct vm_call *waiting;         /* who has its turn when the launch has ended */
};

LIST_HEAD(vm_list, vm);

/* "opening", "open", "running", "stopping", "expected". */
const char *vm_state_name(enum vm_state state);

struct vm *vm_new(const struct uuid *uuid, const char *name);
struct vm *vm_free(struct vm *vm);

void vm_set_state(struct vm *vm, enum vm_state state);
void vm_set_name(struct vm *vm, const char *name);

/* A disk of that target, or NULL. */
struct vm_disk *vm_find_disk(const struct vm *vm, const char *target);

/* An empty disk; in place of the one of that target.  NULL without memory, or when there are too many. */
struct vm_disk *vm_add_disk(struct vm *vm, const char *target);

/* Of its volume, from its mode, VM and target, or image. */
void vm_disk_set_name(struct vm_disk *disk);

/* Ends its lease, too. */
void vm_remove_disk(struct vm *vm, struct vm_disk *disk);

bool lease_held(const struct lease *lease);

/* Whether a new layer of it waits for the start that libvirt has announced. */
bool vm_is_expected(const struct vm *vm);

/* Its lease, or with a secret that of another disk which has the same. */
bool vm_disk_held(const struct vm_disk *disk);

/* Ends the sessions: a mapping that nobody else has open goes. */
void lease_end(struct lease *lease);

/* {"uuid", "name", "state", "since", "since_reconnect", "disks": [...]}, as in records and in the status. */
int vm_write_json(const struct vm *vm, struct buf *json, struct wla_error *err) _must_check_;
