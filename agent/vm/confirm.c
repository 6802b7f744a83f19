/* SPDX-License-Identifier: Apache-2.0 */

/* Asks volumed which mappings the kernel has, when we cannot know: after a start of wlagentd, and when a
 * lease has ended before its VM was said to run.  Secrets of libvirt that may have a value are cleared first:
 * whoever should have done it may have been killed.  Those that cannot be cleared are tried again, and hold
 * nothing up. */

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "vm/disk_secret.h"
#include "vm/errand.h"
#include "vm/lifecycle_state.h"
#include "vm/nova_return.h"
#include "vm/vm_trust.h"
#include "vm/volume_list.h"
#include "volume/secret_keeper.h"

#define TIMER_ACCURACY (50 * USEC_PER_MSEC)
#define LIST_TIME      (5 * USEC_PER_SEC)
#define FIRST_PAUSE    USEC_PER_SEC
#define LONGEST_PAUSE  (30 * USEC_PER_SEC)

/* One of them; longer than libvirt may take, so that its reason arrives. */
#define CLEAR_TIME ((SECRET_LIBVIRT_SEC + 4) * USEC_PER_SEC)
/* From then on no other one is begun: the rest has its turn in the next round. */
#define CLEAR_ROUND (5 * USEC_PER_SEC)

struct doubtful_secret {
        struct uuid uuid;
        bool cleared;
};

struct confirmation {
        struct errand errand; /* first: it is what comes back */
        struct lifecycle *lifecycle;
        uint64_t begun_usec;
        struct volume_list list;
        size_t secret_count;
        struct doubtful_secret *secrets;
        size_t turn;            /* the secret to begin with; then the one that was not reached */
        bool unclear;           /* not all were cleared */
        struct wla_error cause; /* of the first one that was tried and not cleared */
};

static bool is_open(const struct vm_disk *disk, const struct volume_list *list) {
        const struct volume_entry *entry = volume_list_find(list, disk->name);

        return entry && entry->open_count > 0;
}

static void no_more(struct vm *vm) {
        if (vm->disk_count == 0)
                log_line(LOG_NOTICE, "nothing of VM %s is open any more", vm->uuid.text);
}

/* Unless it is to be sooner already. */
static void confirm_within(struct lifecycle *lifecycle, uint64_t usec) {
        uint64_t at_usec = UINT64_MAX;
        int enabled = SD_EVENT_OFF;

        (void)sd_event_source_get_enabled(lifecycle->confirm_timer, &enabled);
        (void)sd_event_source_get_time(lifecycle->confirm_timer, &at_usec);
        if (enabled == SD_EVENT_OFF || at_usec > clock_now_usec() + usec)
                lifecycle_confirm_in(lifecycle, usec);
}

/* Without an answer it is asked again, by and by; also when the disk is busy, which others than QEMU make it,
 * and volumed is at times. */
static void heard_of_nova(struct vm *vm, const struct wla_error *err) {
        bool unheard = err && (err->code == WLA_E_TIMEOUT || err->code == WLA_E_UNAVAILABLE);
        bool busy = err && err->code == WLA_E_BUSY;

        if (busy) {
                vm->nova_busy_until_usec = clock_now_usec() + LONGEST_PAUSE;
                lifecycle_confirm_in(vm->lifecycle, 0);
        } else if (unheard) {
                confirm_within(vm->lifecycle, LONGEST_PAUSE);
        }
        for (size_t i = vm->disk_count; !busy && !unheard && i > 0; i--)
                if (vm->disks[i - 1]->mode == DISK_NOVA)
                        vm_remove_disk(vm, vm->disks[i - 1]);
        no_more(vm);
        lifecycle_go_on(vm);
}

/* The mapping of an image may be open for other instances of it. */
static bool ask_for_nova(struct vm_disk *disk) {
        struct vm *vm = disk->vm;
        uint64_t now_usec = clock_now_usec();

        if (disk->mode != DISK_NOVA || vm->runs)
                return false;
        if (vm->nova_busy_until_usec > now_usec) {
                confirm_within(vm->lifecycle, vm->nova_busy_until_usec - now_usec);
                return false;
        }
        /* Also if this fails at once. */
        confirm_within(vm->lifecycle, LONGEST_PAUSE);
        nova_return_begin(disk, heard_of_nova);
        return true;
}

static void judge_state(struct vm *vm) {
        if (vm->state != VM_OPENING && vm->state != VM_OPEN)
                return;
        if (vm->seen_open)
                vm_set_state(vm, VM_RUNNING);
        else
                lifecycle_confirm_in(vm->lifecycle, FIRST_PAUSE);
        vm->seen_open = !vm->seen_open;
}

static bool is_doubtful_secret(const struct vm_disk *disk) {
        return disk->mode == DISK_SECRET && !disk->cleared && !vm_disk_held(disk);
}

/* A secret lasts as long as it may have a value, or the VM is said to run. */
static bool is_known(const struct vm_disk *disk, const struct volume_list *list) {
        if (disk->mode != DISK_SECRET)
                return is_open(disk, list);
        return !disk->cleared || disk->vm->state == VM_RUNNING;
}

static bool has_mapping(const struct vm *vm) {
        for (size_t i = 0; i < vm->disk_count; i++)
                if (vm->disks[i]->mode != DISK_SECRET)
                        return true;
        return false;
}

/* What is open without us is QEMU's; what is not has ended without our hearing of it. */
static void judge(struct vm *vm, const struct volume_list *list) {
        bool mapped = has_mapping(vm);
        bool expected = vm_is_expected(vm);
        bool unsettled = false;
        bool open = false;

        for (size_t i = vm->disk_count; i > 0; i--) {
                struct vm_disk *disk = vm->disks[i - 1];

                if (lease_held(&disk->lease)) {
                        unsettled = true;
                } else if (!is_known(disk, list)) {
                        if (!expected || !disk->arriving)
                                lifecycle_drop_disk(vm, disk);
                } else if (is_doubtful_secret(disk)) {
                        unsettled = unsettled || !mapped || expected;
                } else {
                        open = true;
                        unsettled = ask_for_nova(disk) || unsettled;
                }
        }

        /* A secret tells nothing of a VM whose mappings do. */
        if (mapped && !has_mapping(vm) && vm->disk_count > 0) {
                vm_set_state(vm, VM_STOPPING);
                lifecycle_drop_all(vm);
                unsettled = true;
        }

        no_more(vm);
        if (vm->disk_count == 0) {
                lifecycle_tidy(vm);
                return;
        }
        if (!unsettled && !open)
                vm_set_state(vm, VM_EXPECTED);
        else if (!unsettled)
                judge_state(vm);
        lifecycle_note(vm);
        if (vm->state == VM_RUNNING)
                vm_trust_report(vm);
}

static bool is_in_doubt(const struct vm *vm) {
        for (size_t i = 0; vm->state != VM_EXPECTED && i < vm->disk_count; i++)
                if (!lease_held(&vm->disks[i]->lease))
                        return true;
        return false;
}

static void note_cleared(struct vm *vm, const struct confirmation *confirmation) {
        for (size_t i = 0; i < vm->disk_count; i++)
                for (size_t j = 0; j < confirmation->secret_count; j++)
                        if (is_doubtful_secret(vm->disks[i]) && confirmation->secrets[j].cleared &&
                            uuid_equal(&vm->disks[i]->secret, &confirmation->secrets[j].uuid))
                                vm->disks[i]->cleared = true;
}

static void judge_all(struct lifecycle *lifecycle, const struct confirmation *confirmation) {
        struct vm *next;

        for (struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = next) {
                next = LIST_NEXT(vm, entry);
                if (!is_in_doubt(vm))
                        continue;
                /* The list may be from before the change. */
                if (vm->launch || vm->nova_return || vm->changed_usec >= confirmation->begun_usec) {
                        lifecycle_confirm_in(lifecycle, FIRST_PAUSE);
                        continue;
                }
                note_cleared(vm, confirmation);
                judge(vm, &confirmation->list);
        }
}

static void try_again(struct lifecycle *lifecycle, const char *what, const struct wla_error *err) {
        uint64_t pause_usec = lifecycle->confirm_pause_usec;

        if (pause_usec == 0) {
                log_line(LOG_WARNING, "%s: %s", what, wla_error_text(err));
                pause_usec = FIRST_PAUSE;
        }
        confirm_within(lifecycle, pause_usec);
        lifecycle->confirm_pause_usec = 2 * pause_usec > LONGEST_PAUSE ? LONGEST_PAUSE
                                                                       : 2 * pause_usec;
}

static struct confirmation *free_confirmation(struct confirmation *confirmation) {
        volume_list_clear(&confirmation->list);
        free(confirmation->secrets);
        free(confirmation);
        return NULL;
}

static void add_secret(struct confirmation *confirmation, const struct uuid *secret) {
        for (size_t i = 0; i < confirmation->secret_count; i++)
                if (uuid_equal(&confirmation->secrets[i].uuid, secret))
                        return;
        confirmation->secrets[confirmation->secret_count++].uuid = *secret;
}

/* Those of a launch are its own. */
static int collect_secrets(struct confirmation *confirmation, struct wla_error *err) {
        const struct lifecycle *lifecycle = confirmation->lifecycle;
        size_t count = 0;

        for (const struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = LIST_NEXT(vm, entry))
                count += vm->disk_count;
        confirmation->secrets = calloc(count > 0 ? count : 1, sizeof(*confirmation->secrets));
        if (!confirmation->secrets)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        for (const struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = LIST_NEXT(vm, entry))
                for (size_t i = 0; i < vm->disk_count && !vm->launch; i++)
                        if (is_doubtful_secret(vm->disks[i]))
                                add_secret(confirmation, &vm->disks[i]->secret);
        confirmation->turn = lifecycle->clear_turn;
        return 0;
}

static void clear_secrets(struct confirmation *confirmation) {
        const char *socket = confirmation->lifecycle->options.volume_socket;
        struct deadline *deadline = &confirmation->errand.deadline;
        uint64_t begun_usec = clock_now_usec();

        for (size_t i = 0; i < confirmation->secret_count; i++, confirmation->turn++) {
                struct doubtful_secret *secret =
                        &confirmation->secrets[confirmation->turn % confirmation->secret_count];
                uint64_t now_usec = clock_now_usec();
                struct wla_error err = {0};

                if (now_usec - begun_usec >= CLEAR_ROUND) {
                        if (!confirmation->unclear)
                                (void)wla_fail(&confirmation->cause, WLA_E_TIMEOUT,
                                               "libvirt is slow");
                        confirmation->unclear = true;
                        return;
                }
                deadline_extend(deadline, now_usec + CLEAR_TIME);
                secret->cleared = disk_secret_clear(&secret->uuid, socket, deadline, &err) == 0;
                if (!secret->cleared && !confirmation->unclear) {
                        (void)wla_wrap(&err, "libvirt's secret %s", secret->uuid.text);
                        confirmation->cause = err;
                }
                confirmation->unclear = confirmation->unclear || !secret->cleared;
        }
}

static int ask(struct errand *errand, struct wla_error *err) {
        struct confirmation *confirmation = (struct confirmation *)errand;
        const char *socket = confirmation->lifecycle->options.volume_socket;

        clear_secrets(confirmation);
        deadline_extend(&errand->deadline, clock_now_usec() + LIST_TIME);
        return volume_list_read(socket, VOLUMED_LIST, &errand->deadline, &confirmation->list, err);
}

static void answered(struct errand *errand, const struct wla_error *err) {
        struct confirmation *confirmation = (struct confirmation *)errand;
        struct lifecycle *lifecycle = confirmation->lifecycle;

        lifecycle->confirmation = NULL;
        lifecycle->clear_turn = confirmation->turn;
        if (!err)
                judge_all(lifecycle, confirmation);
        if (err)
                try_again(lifecycle, "which disks of VMs are open is not known", err);
        else if (confirmation->unclear)
                try_again(lifecycle, "not every secret of libvirt has been cleared",
                          &confirmation->cause);
        else
                lifecycle->confirm_pause_usec = 0;
        free_confirmation(confirmation);
}

static int begin(struct lifecycle *lifecycle, struct wla_error *err) {
        struct confirmation *confirmation = calloc(1, sizeof(*confirmation));

        if (!confirmation)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        confirmation->errand.work = ask;
        confirmation->errand.finish = answered;
        confirmation->lifecycle = lifecycle;
        confirmation->begun_usec = clock_now_usec();
        if (collect_secrets(confirmation, err) < 0 ||
            errand_begin(&confirmation->errand, lifecycle, confirmation->begun_usec + LIST_TIME,
                         err) < 0) {
                free_confirmation(confirmation);
                return -1;
        }
        lifecycle->confirmation = confirmation;
        return 0;
}

static int on_confirm_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct lifecycle *lifecycle = userdata;
        struct wla_error err = {0};

        (void)source;
        (void)usec;
        if (lifecycle->confirmation)
                lifecycle_confirm_in(lifecycle, FIRST_PAUSE);
        else if (begin(lifecycle, &err) < 0)
                try_again(lifecycle, "which disks of VMs are open is not known", &err);
        return 0;
}

void lifecycle_cancel_confirmation(struct lifecycle *lifecycle) {
        if (lifecycle->confirmation)
                deadline_cancel(&lifecycle->confirmation->errand.deadline);
}

void lifecycle_confirm_in(struct lifecycle *lifecycle, uint64_t usec) {
        (void)sd_event_source_set_time_relative(lifecycle->confirm_timer, usec);
        (void)sd_event_source_set_enabled(lifecycle->confirm_timer, SD_EVENT_ONESHOT);
}

int lifecycle_make_confirm_timer(struct lifecycle *lifecycle, struct wla_error *err) {
        int outcome = sd_event_add_time(lifecycle->options.event, &lifecycle->confirm_timer,
                                        CLOCK_MONOTONIC, UINT64_MAX, TIMER_ACCURACY,
                                        on_confirm_timer, lifecycle);

        if (outcome >= 0)
                outcome = sd_event_source_set_enabled(lifecycle->confirm_timer, SD_EVENT_OFF);
        if (outcome < 0)
                return wla_fail_errno(err, -outcome, "cannot make a timer");
        return 0;
}
