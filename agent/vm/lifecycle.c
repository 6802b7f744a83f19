/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/lifecycle.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "vm/lifecycle_state.h"
#include "vm/nova_return.h"
#include "vm/report.h"
#include "vm/vm_trust.h"

#define TIMER_ACCURACY (50 * USEC_PER_MSEC)

/* libvirt calls release right after stopped; a lease is not kept longer for one that never comes. */
#define RELEASE_PATIENCE (10 * USEC_PER_SEC)

/* How long the kernel may take to remove a mapping that nobody has open any more. */
#define REMOVAL_PATIENCE USEC_PER_SEC

/* The list that is asked for then is from after it was found. */
#define FOUND_PAUSE (100 * USEC_PER_MSEC)

static const char hint_again[] = "start the VM again";
static const char hint_starting[] = "shut the VM down first, when it has started";
static const char hint_running[] = "shut the VM down first; if it has ended just now, try again in "
                                   "a moment";
static const char hint_stopping[] = "try again in a moment";
static const char hint_by_hand[] = "'wlagent volume close' closes it";

static int check_event(int outcome, const char *what, struct wla_error *err) {
        if (outcome >= 0)
                return 0;
        return wla_fail_errno(err, -outcome, "cannot %s", what);
}

struct vm *lifecycle_find(const struct lifecycle *lifecycle, const struct uuid *uuid) {
        for (struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = LIST_NEXT(vm, entry))
                if (uuid_equal(&vm->uuid, uuid))
                        return vm;
        return NULL;
}

static void insert(struct lifecycle *lifecycle, struct vm *vm) {
        vm->lifecycle = lifecycle;
        LIST_INSERT_HEAD(&lifecycle->vms, vm, entry);
}

struct vm *lifecycle_add(struct lifecycle *lifecycle, const struct uuid *uuid, const char *name) {
        struct vm *vm = vm_new(uuid, name);

        if (vm)
                insert(lifecycle, vm);
        return vm;
}

void lifecycle_forget(struct vm *vm) {
        struct wla_error err = {0};

        if (record_remove(vm->lifecycle->records, &vm->uuid, &err) < 0)
                log_line(LOG_WARNING, "%s", wla_error_text(&err));
        LIST_REMOVE(vm, entry);
        vm_free(vm);
}

void lifecycle_tidy(struct vm *vm) {
        if (!vm->launch && !vm->nova_return && !vm->waiting && vm->disk_count == 0)
                lifecycle_forget(vm);
}

void lifecycle_note(const struct vm *vm) {
        struct wla_error err = {0};

        if (record_write(vm->lifecycle->records, vm, &err) < 0)
                log_line(LOG_WARNING, "%s", wla_error_text(&err));
}

static void given_back(struct vm *vm, const struct wla_error *err) {
        (void)err;
        lifecycle_go_on(vm);
}

void lifecycle_drop_disk(struct vm *vm, struct vm_disk *disk) {
        if (disk->mode == DISK_NOVA)
                nova_return_begin(disk, given_back);
        vm_remove_disk(vm, disk);
}

void lifecycle_drop_all(struct vm *vm) {
        for (size_t i = vm->disk_count; i > 0; i--) {
                struct vm_disk *disk = vm->disks[i - 1];

                if (disk->mode == DISK_SECRET && !disk->cleared)
                        lifecycle_end_lease(disk);
                else
                        lifecycle_drop_disk(vm, disk);
        }
}

static int on_pool(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct lifecycle *lifecycle = userdata;

        (void)source;
        (void)fd;
        (void)events;
        pool_dispatch(lifecycle->pool);
        return 0;
}

int lifecycle_need_pool(struct lifecycle *lifecycle, struct wla_error *err) {
        if (lifecycle->pool)
                return 0;
        if (pool_new(VOLUME_WORKERS, VOLUME_QUEUE_MAX, &lifecycle->pool, err) < 0)
                return -1;
        int outcome = sd_event_add_io(lifecycle->options.event, &lifecycle->pool_source,
                                      pool_fd(lifecycle->pool), EPOLLIN, on_pool, lifecycle);
        if (outcome < 0) {
                lifecycle->pool = pool_free(lifecycle->pool);
                return check_event(outcome, "watch the workers for volumes", err);
        }
        return 0;
}

void lifecycle_end_lease(struct vm_disk *disk) {
        lease_end(&disk->lease);
        disk->vm->changed_usec = clock_now_usec();
        lifecycle_confirm_in(disk->vm->lifecycle, REMOVAL_PATIENCE);
}

static void end_leases(struct vm *vm, uint64_t now_usec) {
        for (size_t i = 0; i < vm->disk_count; i++) {
                struct vm_disk *disk = vm->disks[i];

                if (!lease_held(&disk->lease) || disk->lease.until_usec > now_usec)
                        continue;
                report_lease_ended(disk, "is held no longer, its time is over");
                lifecycle_end_lease(disk);
        }
}

static int on_lease_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct lifecycle *lifecycle = userdata;
        uint64_t now_usec = clock_now_usec();

        (void)source;
        (void)usec;
        for (struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = LIST_NEXT(vm, entry))
                end_leases(vm, now_usec);
        lifecycle_arm_leases(lifecycle);
        return 0;
}

void lifecycle_arm_leases(struct lifecycle *lifecycle) {
        uint64_t next_usec = UINT64_MAX;

        for (struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = LIST_NEXT(vm, entry)) {
                for (size_t i = 0; i < vm->disk_count; i++)
                        if (lease_held(&vm->disks[i]->lease) &&
                            vm->disks[i]->lease.until_usec < next_usec)
                                next_usec = vm->disks[i]->lease.until_usec;
        }
        (void)sd_event_source_set_time(lifecycle->lease_timer, next_usec);
        (void)sd_event_source_set_enabled(
                lifecycle->lease_timer, next_usec == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static bool same_line(const struct vm_disk *disk, const struct protected_disk *line) {
        return disk->mode == line->mode && strcmp(disk->image, line->image) == 0 &&
               uuid_equal(&disk->secret, &line->secret);
}

int lifecycle_check_start(const struct lifecycle *lifecycle, const struct domain *domain,
                          struct wla_error *err) {
        const struct vm *vm = lifecycle_find(lifecycle, &domain->uuid);

        for (size_t i = 0; i < domain->disk_count; i++) {
                const struct protected_disk *line = &domain->disks[i];
                const struct vm_disk *disk = vm ? vm_find_disk(vm, line->target) : NULL;

                if (!disk || !vm_disk_held(disk))
                        return wla_fail_hint(err, WLA_E_UNAVAILABLE, hint_again,
                                             "disk %s is not open any more: wlagentd or "
                                             "wlagent-volumed has ended, or the time was over",
                                             line->target);
                if (!same_line(disk, line))
                        return wla_fail_hint(err, WLA_E_INPUT, hint_again,
                                             "disk %s is not the one that was opened",
                                             line->target);
        }
        return 0;
}

/* The VM that libvirt tells something about; NULL when nothing is known of it, or a newer start of it is
 * under way already. */
static struct vm *find_settled(const struct lifecycle *lifecycle, const struct uuid *uuid) {
        struct vm *vm = lifecycle_find(lifecycle, uuid);

        return vm && (!vm->launch || vm->launch_by_hand) ? vm : NULL;
}

int lifecycle_write_arriving(const struct lifecycle *lifecycle, const struct uuid *uuid,
                             struct buf *names, struct wla_error *err) {
        const struct vm *vm = find_settled(lifecycle, uuid);

        for (size_t i = 0; vm && i < vm->disk_count; i++)
                if (vm->disks[i]->arriving &&
                    buf_printf(names, err, "%s\n", vm->disks[i]->name) < 0)
                        return -1;
        return 0;
}

void lifecycle_started(struct lifecycle *lifecycle, const struct uuid *uuid) {
        struct vm *vm = find_settled(lifecycle, uuid);

        if (!vm)
                return;
        vm->migrating = false;
        vm->runs = true;
        vm_set_state(vm, VM_RUNNING);
        report_running(vm);
        for (size_t i = 0; i < vm->disk_count; i++)
                if (!vm->disks[i]->by_hand) {
                        lease_end(&vm->disks[i]->lease);
                        vm->disks[i]->arriving = false;
                        if (vm->disks[i]->mode == DISK_SECRET && !vm->disks[i]->cleared)
                                lifecycle_confirm_in(lifecycle, REMOVAL_PATIENCE);
                }
        lifecycle_note(vm);
        vm_trust_report(vm);
        lifecycle_arm_leases(lifecycle);
}

/* libvirt restores the labels of the disks before it calls release: until then they stay. */
void lifecycle_stopped(struct lifecycle *lifecycle, const struct uuid *uuid) {
        struct vm *vm = find_settled(lifecycle, uuid);
        uint64_t until_usec = clock_now_usec() + RELEASE_PATIENCE;

        /* Of an expected VM only a start that was refused can have ended. */
        if (!vm || vm_is_expected(vm))
                return;
        vm->runs = false;
        vm_set_state(vm, VM_STOPPING);
        lifecycle_note(vm);
        for (size_t i = 0; i < vm->disk_count; i++)
                if (vm->disks[i]->lease.until_usec > until_usec)
                        vm->disks[i]->lease.until_usec = until_usec;
        lifecycle_arm_leases(lifecycle);
}

/* What is being opened by hand meanwhile finds its disk gone, and fails. */
void lifecycle_released(struct lifecycle *lifecycle, const struct uuid *uuid) {
        struct vm *vm = find_settled(lifecycle, uuid);

        if (!vm || vm_is_expected(vm))
                return;
        report_closed(vm);
        lifecycle_drop_all(vm);
        vm_set_state(vm, VM_STOPPING);
        if (vm->launch || vm->disk_count > 0)
                lifecycle_note(vm);
        lifecycle_tidy(vm);
        lifecycle_arm_leases(lifecycle);
}

struct nova_return *lifecycle_nova_return(const struct lifecycle *lifecycle,
                                          const struct uuid *uuid) {
        const struct vm *vm = lifecycle_find(lifecycle, uuid);

        return vm ? vm->nova_return : NULL;
}

void lifecycle_reconnected(struct lifecycle *lifecycle, const struct uuid *uuid) {
        struct vm *vm = find_settled(lifecycle, uuid);

        if (!vm)
                return;
        vm->runs = true;
        if (vm->state != VM_RUNNING)
                lifecycle_started(lifecycle, uuid);
}

static int add_found(struct vm *vm, const struct protected_disk *line,
                     const struct uuid *nova_header) {
        struct vm_disk *disk = vm_add_disk(vm, line->target);

        if (!disk)
                return -1;
        memcpy(disk->image, line->image, sizeof(disk->image));
        disk->mode = line->mode;
        disk->nova_image = line->nova_image;
        disk->secret = line->secret;
        if (line->has_key_id)
                memcpy(disk->key_id, line->key_id.text, sizeof(disk->key_id));
        if (line->mode == DISK_NOVA)
                disk->header = *nova_header;
        vm_disk_set_name(disk);
        return 0;
}

void lifecycle_found_running(struct lifecycle *lifecycle, const struct domain *domain,
                             const struct uuid *nova_header) {
        if (domain->disk_count == 0)
                return;

        struct vm *vm = lifecycle_add(lifecycle, &domain->uuid, domain->name);
        for (size_t i = 0; vm && i < domain->disk_count; i++)
                if (add_found(vm, &domain->disks[i], nova_header) < 0) {
                        lifecycle_forget(vm);
                        vm = NULL;
                }
        if (!vm) {
                log_line(LOG_WARNING, "out of memory: VM %s runs, and is not known here",
                         domain->uuid.text);
                return;
        }
        vm_set_state(vm, VM_RUNNING);
        vm->runs = true;
        vm->since_reconnect = true;
        lifecycle_note(vm);
        report_running(vm);
        lifecycle_confirm_in(lifecycle, FOUND_PAUSE);
}

void lifecycle_look_again(struct lifecycle *lifecycle) {
        if (!LIST_EMPTY(&lifecycle->vms))
                lifecycle_confirm_in(lifecycle, 0);
}

int lifecycle_let_go(struct lifecycle *lifecycle, const struct volume_name *name, bool *ret_held,
                     struct wla_error *err) {
        const struct vm *vm = lifecycle_find(lifecycle, &name->uuid);
        struct vm_disk *disk = vm ? vm_find_disk(vm, name->target) : NULL;

        *ret_held = false;
        if (!disk)
                return 0;
        if (vm->launch || (lease_held(&disk->lease) && !disk->by_hand))
                return wla_fail_hint(err, WLA_E_BUSY, "try again later",
                                     "disk %s of VM %s is held for its start", name->target,
                                     name->uuid.text);
        *ret_held = lease_held(&disk->lease);
        if (*ret_held)
                lifecycle_end_lease(disk);
        lifecycle_arm_leases(lifecycle);
        return 0;
}

void lifecycle_closed_by_hand(struct lifecycle *lifecycle, const struct volume_name *name) {
        struct vm *vm = lifecycle_find(lifecycle, &name->uuid);
        struct vm_disk *disk = vm ? vm_find_disk(vm, name->target) : NULL;

        if (!disk || vm->launch || lease_held(&disk->lease) || disk->arriving)
                return;
        vm_remove_disk(vm, disk);
        if (vm->disk_count > 0)
                lifecycle_note(vm);
        lifecycle_tidy(vm);
}

void lifecycle_layer_removed(struct lifecycle *lifecycle, const struct volume_name *name) {
        struct vm *vm = lifecycle_find(lifecycle, &name->uuid);
        struct vm_disk *disk = vm ? vm_find_disk(vm, name->target) : NULL;

        if (!disk || vm->state != VM_EXPECTED || vm->launch)
                return;
        vm_remove_disk(vm, disk);
        if (vm->disk_count > 0)
                lifecycle_note(vm);
        lifecycle_tidy(vm);
}

bool lifecycle_knows(const struct lifecycle *lifecycle, const struct volume_name *name) {
        const struct vm *vm = lifecycle_find(lifecycle, &name->uuid);

        return vm && (vm->state != VM_EXPECTED || vm->launch) &&
               (name->target[0] == '\0' || vm_find_disk(vm, name->target));
}

/* One without disks is still known while its disk is given back to Nova, also after a start that has failed. */
static bool is_ending(const struct vm *vm) {
        return !vm->launch && (vm->state == VM_STOPPING || vm->disk_count == 0);
}

/* Of a VM that has a disk or a launch. */
static bool is_open_by_hand(const struct vm *vm) {
        for (size_t i = 0; i < vm->disk_count; i++)
                if (!vm->disks[i]->by_hand)
                        return false;
        return !vm->launch || vm->launch_by_hand;
}

int lifecycle_check_ended(struct lifecycle *lifecycle, const struct uuid *uuid,
                          struct wla_error *err) {
        const struct volume_name name = {.kind = VOLUME_DISK, .uuid = *uuid};
        const struct vm *vm = lifecycle_find(lifecycle, uuid);

        if (!lifecycle_knows(lifecycle, &name))
                return 0;
        lifecycle_look_again(lifecycle);
        if (vm->state == VM_RUNNING)
                return wla_fail_hint(err, WLA_E_BUSY, hint_running, "VM %s runs", uuid->text);
        if (is_ending(vm))
                return wla_fail_hint(err, WLA_E_BUSY, hint_stopping, "VM %s is just ending",
                                     uuid->text);
        if (is_open_by_hand(vm))
                return wla_fail_hint(err, WLA_E_BUSY, hint_by_hand,
                                     "a disk of VM %s is open by hand", uuid->text);
        return wla_fail_hint(err, WLA_E_BUSY, hint_starting, "VM %s is starting", uuid->text);
}

size_t lifecycle_count(const struct lifecycle *lifecycle) {
        size_t count = 0;

        for (const struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = LIST_NEXT(vm, entry))
                count++;
        return count;
}

size_t lifecycle_open_disks(const struct lifecycle *lifecycle) {
        size_t count = 0;

        for (const struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = LIST_NEXT(vm, entry))
                count += vm->state == VM_OPENING || vm->state == VM_EXPECTED ? 0 : vm->disk_count;
        return count;
}

int lifecycle_write_json(const struct lifecycle *lifecycle, struct buf *json,
                         struct wla_error *err) {
        const char *separator = "[";

        for (const struct vm *vm = LIST_FIRST(&lifecycle->vms); vm; vm = LIST_NEXT(vm, entry)) {
                if (buf_append_text(json, separator, err) < 0 || vm_write_json(vm, json, err) < 0)
                        return -1;
                separator = ",";
        }
        return buf_append_text(json, separator[0] == '[' ? "[]" : "]", err);
}

static void take_record(void *userdata, struct vm *vm) {
        struct lifecycle *lifecycle = userdata;

        insert(lifecycle, vm);
        if (vm->state == VM_RUNNING)
                vm_trust_report(vm);
        lifecycle_tidy(vm);
}

int lifecycle_new(const struct lifecycle_options *options,
                  const struct lifecycle_settings *settings, struct lifecycle **ret,
                  struct wla_error *err) {
        struct lifecycle *lifecycle = calloc(1, sizeof(*lifecycle));

        if (!lifecycle)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        lifecycle->options = *options;
        lifecycle->settings = *settings;
        LIST_INIT(&lifecycle->vms);
        if (record_store_new(options->runtime_directory, &lifecycle->records, err) < 0 ||
            record_read_all(lifecycle->records, take_record, lifecycle, err) < 0 ||
            check_event(sd_event_add_time(options->event, &lifecycle->lease_timer, CLOCK_MONOTONIC,
                                          UINT64_MAX, TIMER_ACCURACY, on_lease_timer, lifecycle),
                        "make a timer", err) < 0 ||
            lifecycle_make_confirm_timer(lifecycle, err) < 0) {
                lifecycle_free(lifecycle);
                return -1;
        }
        if (!LIST_EMPTY(&lifecycle->vms))
                lifecycle_confirm_in(lifecycle, 0);
        *ret = lifecycle;
        return 0;
}

struct lifecycle *lifecycle_free(struct lifecycle *lifecycle) {
        if (!lifecycle)
                return NULL;

        lifecycle_cancel_confirmation(lifecycle);
        pool_free(lifecycle->pool);
        sd_event_source_disable_unref(lifecycle->pool_source);
        sd_event_source_disable_unref(lifecycle->lease_timer);
        sd_event_source_disable_unref(lifecycle->confirm_timer);
        while (!LIST_EMPTY(&lifecycle->vms)) {
                struct vm *vm = LIST_FIRST(&lifecycle->vms);

                LIST_REMOVE(vm, entry);
                vm_free(vm);
        }
        record_store_free(lifecycle->records);
        free(lifecycle);
        return NULL;
}

void lifecycle_end_reports(struct lifecycle *lifecycle) {
        if (lifecycle)
                lifecycle->options.reporter = NULL;
}

void lifecycle_configure(struct lifecycle *lifecycle, const struct lifecycle_settings *settings) {
        lifecycle->settings = *settings;
}
