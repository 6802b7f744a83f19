/* SPDX-License-Identifier: Apache-2.0 */

/* Asks volumed which mappings the kernel has, when we cannot know: after a start of wlagentd, and when a
 * lease has ended before its VM was said to run.  Secrets of libvirt that may have a value then are cleared
 * first: whoever should have done it may have been killed. */

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "vm/disk_secret.h"
#include "vm/errand.h"
#include "vm/lifecycle_state.h"
#include "vm/nova_return.h"
#include "vm/volume_list.h"

#define TIMER_ACCURACY (50 * USEC_PER_MSEC)
#define LIST_TIME      (5 * USEC_PER_SEC)
#define FIRST_PAUSE    USEC_PER_SEC
#define LONGEST_PAUSE  (30 * USEC_PER_SEC)

struct confirmation {
        struct errand errand; /* first: it is what comes back */
        struct lifecycle *lifecycle;
        uint64_t begun_usec;
        struct volume_list list;
        size_t secret_count;
        struct uuid *secrets;
};

static bool is_open(const struct vm_disk *disk, const struct volume_list *list) {
        const struct volume_entry *entry = volume_list_find(list, disk->name);

        return entry && entry->open_count > 0;
}

static void no_more(struct vm *vm) {
        if (vm->disk_count == 0)
                log_line(LOG_NOTICE, "nothing of VM %s is open any more", vm->uuid.text);
}

/* Without an answer it is asked again, by and by. */
static void heard_of_nova(struct vm *vm, const struct wla_error *err) {
        bool unheard = err && (err->code == WLA_E_TIMEOUT || err->code == WLA_E_UNAVAILABLE);

        vm->runs = err && err->code == WLA_E_BUSY;
        if (vm->runs || unheard)
                lifecycle_confirm_in(vm->lifecycle, unheard ? LONGEST_PAUSE : 0);
        for (size_t i = vm->disk_count; !vm->runs && !unheard && i > 0; i--)
                if (vm->disks[i - 1]->mode == DISK_NOVA)
                        vm_remove_disk(vm, vm->disks[i - 1]);
        no_more(vm);
        lifecycle_go_on(vm);
}

/* The mapping of an image may be open for other instances of it. */
static bool ask_for_nova(struct vm_disk *disk) {
        if (disk->mode != DISK_NOVA || disk->vm->runs)
                return false;
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
        return disk->mode == DISK_SECRET && !vm_disk_held(disk) && disk->vm->state != VM_RUNNING;
}

/* What the kernel knows nothing of lasts as long as the VM is said to run. */
static bool is_known(const struct vm_disk *disk, const struct volume_list *list) {
        return disk->mode == DISK_SECRET ? !is_doubtful_secret(disk) : is_open(disk, list);
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
                } else {
                        open = true;
                        unsettled = ask_for_nova(disk) || unsettled;
                }
        }

        /* A secret tells nothing of a VM whose mappings do. */
        while (mapped && !has_mapping(vm) && vm->disk_count > 0)
                vm_remove_disk(vm, vm->disks[vm->disk_count - 1]);

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
}

static bool is_in_doubt(const struct vm *vm) {
        for (size_t i = 0; vm->state != VM_EXPECTED && i < vm->disk_count; i++)
                if (!lease_held(&vm->disks[i]->lease))
                        return true;
        return false;
}

static void judge_all(struct lifecycle *lifecycle, const struct confirmation *confirmation) {
        struct vm *next;

        for (struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = next) {
                next = LIST_NEXT(vm, entry);
                if (!is_in_doubt(vm))
                        continue;
                /* The list may be from before the change. */
                if (vm->launch || vm->nova_return || vm->changed_usec >= confirmation->begun_usec)
                        lifecycle_confirm_in(lifecycle, FIRST_PAUSE);
                else
                        judge(vm, &confirmation->list);
        }
}

static void try_again(struct lifecycle *lifecycle, const struct wla_error *err) {
        uint64_t pause_usec = lifecycle->confirm_pause_usec;

        if (pause_usec == 0) {
                log_line(LOG_WARNING, "which disks of VMs are open is not known: %s",
                         wla_error_text(err));
                pause_usec = FIRST_PAUSE;
        }
        lifecycle_confirm_in(lifecycle, pause_usec);
        lifecycle->confirm_pause_usec = 2 * pause_usec > LONGEST_PAUSE ? LONGEST_PAUSE
                                                                       : 2 * pause_usec;
}

static struct confirmation *free_confirmation(struct confirmation *confirmation) {
        volume_list_clear(&confirmation->list);
        free(confirmation->secrets);
        free(confirmation);
        return NULL;
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
                                confirmation->secrets[confirmation->secret_count++] =
                                        vm->disks[i]->secret;
        return 0;
}

static int ask(struct errand *errand, struct wla_error *err) {
        struct confirmation *confirmation = (struct confirmation *)errand;
        const char *socket = confirmation->lifecycle->options.volume_socket;

        for (size_t i = 0; i < confirmation->secret_count; i++)
                if (disk_secret_clear(&confirmation->secrets[i], socket, &errand->deadline, err) <
                    0)
                        return wla_wrap(err, "clearing a secret of libvirt");

        return volume_list_read(socket, VOLUMED_LIST, &errand->deadline, &confirmation->list, err);
}

static void answered(struct errand *errand, const struct wla_error *err) {
        struct confirmation *confirmation = (struct confirmation *)errand;
        struct lifecycle *lifecycle = confirmation->lifecycle;

        lifecycle->confirmation = NULL;
        if (err) {
                try_again(lifecycle, err);
        } else {
                lifecycle->confirm_pause_usec = 0;
                judge_all(lifecycle, confirmation);
        }
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
                try_again(lifecycle, &err);
        return 0;
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
