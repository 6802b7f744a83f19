/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "vm/lifecycle_state.h"
#include "vm/report.h"

struct vm_call {
        struct vm_order order; /* disks and header_fds are the call's own, name is not kept */
        struct vm *vm;
        uint64_t arrived_usec;
        struct launch_times times;
        bool *ended; /* of lifecycle_open(), while it is on the stack */
        struct protected_disk *disks;
        int *header_fds;
};

static const char hint_newer[] = "the newer start goes on";
static const char hint_runs[] = "if it has just ended, try again";
static const char hint_held[] = "if it is to come from another host, shut it down here, or wait";
static const char hint_expected[] =
        "migrate it again; or, to start it with the unchanged image, remove "
        "its empty layer with 'wlagent volume remove'";
static const char hint_by_hand[] = "'wlagent status' shows what is open";

static void free_call(struct vm_call *call) {
        for (size_t i = 0; call->header_fds && i < call->order.disk_count; i++)
                file_closep(&call->header_fds[i]);
        free(call->header_fds);
        free(call->disks);
        free(call);
}

static void end_call(struct vm_call *call, const struct wla_error *err) {
        const struct vm_order order = call->order;

        if (call->ended)
                *call->ended = true;
        report_launch(call->vm, clock_now_usec() - call->arrived_usec, &call->times, err);
        free_call(call);
        order.done(order.userdata, err);
}

static int copy_order(const struct vm_order *order, struct vm_call **ret) {
        struct vm_call *call = calloc(1, sizeof(*call));

        if (!call)
                return -1;
        call->order = *order;
        call->arrived_usec = clock_now_usec();
        call->disks = calloc(order->disk_count, sizeof(*call->disks));
        call->header_fds = calloc(order->disk_count, sizeof(*call->header_fds));
        if (!call->disks || !call->header_fds) {
                free(call->header_fds);
                free(call->disks);
                free(call);
                return -1;
        }
        for (size_t i = 0; i < order->disk_count; i++) {
                call->disks[i] = order->disks[i];
                call->header_fds[i] = order->header_fds ? order->header_fds[i] : -1;
        }
        call->order.name = "";
        call->order.disks = call->disks;
        call->order.header_fds = call->header_fds;
        *ret = call;
        return 0;
}

/* The mapping is gone, or soon will be: what QEMU has open it can go on using. */
static int on_session_end(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct vm_disk *disk = userdata;

        (void)source;
        (void)fd;
        (void)events;
        report_lease_ended(disk, "is held no longer, wlagent-volumed has ended the session");
        lifecycle_end_lease(disk);
        lifecycle_arm_leases(disk->vm->lifecycle);
        return 0;
}

static int watch(struct vm_disk *disk, const struct volume_session *session, sd_event_source **ret,
                 struct wla_error *err) {
        sd_event *event = disk->vm->lifecycle->options.event;

        if (!session)
                return 0;
        int outcome = sd_event_add_io(event, ret, volume_session_fd(session), EPOLLIN,
                                      on_session_end, disk);
        if (outcome < 0)
                return wla_fail_errno(err, -outcome, "watching wlagent-volumed");
        return 0;
}

static int take_lease(struct vm_disk *disk, struct launch_disk *launched, uint64_t until_usec,
                      struct wla_error *err) {
        struct lease *lease = &disk->lease;

        lease->image = TAKE_PTR(launched->image);
        lease->layer = TAKE_PTR(launched->layer);
        lease->until_usec = until_usec;
        if (watch(disk, lease->image, &lease->image_watch, err) < 0)
                return -1;
        return watch(disk, lease->layer, &lease->layer_watch, err);
}

static uint64_t hold_usec(const struct vm_call *call) {
        const struct lifecycle_settings *settings = &call->vm->lifecycle->settings;

        if (call->order.why == OPEN_FOR_MIGRATION)
                return settings->migrate_lease_usec;
        return call->order.hold_usec ? call->order.hold_usec : settings->lease_usec;
}

static bool has_own_layer(enum disk_mode mode) {
        return mode == DISK_LAYER || mode == DISK_EPHEMERAL;
}

static int add_disk(struct vm *vm, const struct launch_disk *launched, struct wla_error *err) {
        struct vm_disk *disk = vm_add_disk(vm, launched->line.target);

        if (!disk)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        memcpy(disk->image, launched->line.image, sizeof(disk->image));
        memcpy(disk->key_id, launched->key_id.text, sizeof(disk->key_id));
        memcpy(disk->name, launched->name, sizeof(disk->name));
        disk->header = launched->header.uuid;
        disk->mode = launched->line.mode;
        disk->nova_image = launched->line.nova_image;
        disk->secret = launched->line.secret;
        disk->flavor = launched->terms.verdict;
        disk->by_hand = vm->launch_by_hand;
        disk->arriving = vm->migrating && !vm->launch_by_hand && has_own_layer(disk->mode);
        return 0;
}

/* From here on a crash leaves a record of what may be open. */
static int intend(void *userdata, const struct launch *launch, struct wla_error *err) {
        struct vm *vm = userdata;
        for (size_t i = 0; i < launch_disk_count(launch); i++)
                if (add_disk(vm, launch_disk_look(launch, i), err) < 0)
                        return -1;
        return record_write(vm->lifecycle->records, vm, err);
}

static void remove_launched(struct vm *vm, struct launch *launch) {
        for (size_t i = 0; i < launch_disk_count(launch); i++) {
                const struct launch_disk *launched = launch_disk_look(launch, i);
                struct vm_disk *disk = vm_find_disk(vm, launched->line.target);

                if (disk && disk->arriving && vm->was_expected)
                        lease_end(&disk->lease);
                else if (disk && launched->set)
                        lifecycle_end_lease(disk);
                else if (disk && launched->pointed)
                        lifecycle_drop_disk(vm, disk);
                else if (disk)
                        vm_remove_disk(vm, disk);
        }
}

static int adopt(struct vm *vm, struct launch *launch, struct wla_error *err) {
        const struct vm_call *call = vm->call;
        uint64_t until_usec = clock_now_usec() + hold_usec(call);

        for (size_t i = 0; i < launch_disk_count(launch); i++) {
                struct launch_disk *launched = launch_disk_at(launch, i);
                struct vm_disk *disk = vm_find_disk(vm, launched->line.target);

                if (!disk)
                        return wla_fail(err, WLA_E_UNAVAILABLE, "VM %s has ended meanwhile",
                                        vm->uuid.text);
                disk->flavor = launched->terms.verdict;
                if (take_lease(disk, launched, until_usec, err) < 0)
                        return -1;
                report_opened(disk);
        }
        if (call->order.why != OPEN_BY_HAND || vm->state == VM_OPENING || vm->state == VM_EXPECTED)
                vm_set_state(vm, VM_OPEN);
        return record_write(vm->lifecycle->records, vm, err);
}

static void run_call(struct vm *vm, struct vm_call *call);

/* Another launch may have been waiting for the end of this one. */
void lifecycle_go_on(struct vm *vm) {
        if (vm->launch || vm->nova_return)
                return;

        struct vm_call *next = TAKE_PTR(vm->waiting);
        if (next) {
                run_call(vm, next);
                return;
        }
        if (vm->disk_count > 0) {
                if (vm->state == VM_OPENING)
                        vm_set_state(vm, VM_OPEN);
                lifecycle_note(vm);
        }
        lifecycle_tidy(vm);
}

/* Layers that were empty before it still are. */
static void end_arrival(struct vm *vm) {
        vm->migrating = vm->was_expected;
        if (vm_is_expected(vm))
                vm_set_state(vm, VM_EXPECTED);
}

static void launched(void *userdata, struct launch *launch, const struct wla_error *failure) {
        struct vm *vm = userdata;
        struct vm_call *call = vm->call;
        struct wla_error err = {0};

        vm->launch = NULL;
        if (!failure && adopt(vm, launch, &err) < 0)
                failure = &err;
        if (failure)
                remove_launched(vm, launch);
        if (failure && !vm->launch_by_hand)
                end_arrival(vm);
        vm->call = NULL;
        if (call) {
                call->times = launch_times(launch);
                end_call(call, failure);
        }
        launch_free(launch);
        lifecycle_arm_leases(vm->lifecycle);
        if (failure || vm->waiting)
                lifecycle_go_on(vm);
}

/* The leases of migrate are those that prepare would make. */
static bool take_over(struct vm *vm, const struct vm_call *call) {
        uint64_t until_usec = clock_now_usec() + hold_usec(call);

        if (call->order.why != OPEN_FOR_START || !vm->migrating || vm->state != VM_OPEN ||
            vm->disk_count != call->order.disk_count)
                return false;
        for (size_t i = 0; i < call->order.disk_count; i++) {
                const struct protected_disk *line = &call->disks[i];
                const struct vm_disk *disk = vm_find_disk(vm, line->target);

                if (!disk || !vm_disk_held(disk) || disk->mode != line->mode ||
                    strcmp(disk->image, line->image) != 0 ||
                    !uuid_equal(&disk->secret, &line->secret))
                        return false;
        }
        for (size_t i = 0; i < vm->disk_count; i++)
                vm->disks[i]->lease.until_usec = until_usec;
        vm->migrating = false;
        vm_set_state(vm, VM_OPEN);
        lifecycle_note(vm);
        lifecycle_arm_leases(vm->lifecycle);
        return true;
}

/* What an earlier start has left, whose release never came. */
static void let_go(struct vm *vm, const struct vm_call *call) {
        vm->was_expected = call->order.why == OPEN_FOR_MIGRATION && vm_is_expected(vm);
        for (size_t i = vm->disk_count; i > 0; i--) {
                struct vm_disk *disk = vm->disks[i - 1];
                bool wanted = false;

                for (size_t j = 0; j < call->order.disk_count; j++)
                        wanted = wanted || strcmp(disk->target, call->disks[j].target) == 0;
                if (wanted && disk->arriving && vm->was_expected)
                        lease_end(&disk->lease);
                else if (wanted || !disk->by_hand)
                        vm_remove_disk(vm, disk);
        }
        vm_set_state(vm, VM_OPENING);
        vm->migrating = call->order.why == OPEN_FOR_MIGRATION;
        vm->runs = false;
        vm->nova_busy_until_usec = 0;
        lifecycle_arm_leases(vm->lifecycle);
}

static int check_by_hand(const struct vm *vm, const struct vm_call *call, struct wla_error *err) {
        if (vm_find_disk(vm, call->disks[0].target))
                return wla_fail_hint(err, WLA_E_BUSY, hint_by_hand,
                                     "disk %s of VM %s is open already", call->disks[0].target,
                                     vm->uuid.text);
        return 0;
}

/* libvirt asks before it looks whether the VM is here already. */
static int check_arrival(const struct vm *vm, struct wla_error *err) {
        if (vm->state == VM_RUNNING) {
                lifecycle_look_again(vm->lifecycle);
                return wla_fail_hint(err, WLA_E_BUSY, hint_runs, "VM %s runs on this host",
                                     vm->uuid.text);
        }
        bool held = vm->launch || vm->waiting || (vm->state == VM_OPEN && vm->disk_count > 0);
        if (held && !vm->migrating)
                return wla_fail_hint(err, WLA_E_BUSY, hint_held,
                                     "VM %s starts on this host, or has a disk open",
                                     vm->uuid.text);
        return 0;
}

/* What was made for a VM that another host sends is empty: only that VM may start with it, and whether its
 * content is copied is to be seen then. */
static int check_start(const struct vm *vm, struct wla_error *err) {
        if (!vm_is_expected(vm))
                return 0;
        return wla_fail_hint(err, WLA_E_DENIED, hint_expected,
                             "VM %s was to come from another host, and what was opened for that is "
                             "not open any more, or not what starts",
                             vm->uuid.text);
}

/* New layers that were never filled. */
static bool are_all_empty(const struct vm *vm, const struct vm_call *call) {
        for (size_t i = 0; i < call->order.disk_count; i++) {
                const struct vm_disk *disk = vm_find_disk(vm, call->disks[i].target);

                if (has_own_layer(call->disks[i].mode) && (!disk || !disk->arriving))
                        return false;
        }
        return vm_is_expected(vm);
}

static int start_launch(struct vm *vm, struct vm_call *call, bool replaces, struct wla_error *err) {
        struct lifecycle *lifecycle = vm->lifecycle;
        const struct launch_options options = {
                .pool = lifecycle->pool,
                .access = lifecycle->options.access,
                .socket = lifecycle->options.volume_socket,
                .vm = vm->uuid,
                .arriving = call->order.why == OPEN_FOR_MIGRATION,
                .replaces = replaces,
                .peer = call->order.peer,
                .deadline_usec = call->order.deadline_usec,
                .intend = intend,
                .done = launched,
                .userdata = vm,
        };

        int outcome = launch_begin(&options, call->disks, call->header_fds, call->order.disk_count,
                                   &vm->launch, err);
        /* They were taken in any case. */
        for (size_t i = 0; i < call->order.disk_count; i++)
                call->header_fds[i] = -1;
        return outcome;
}

static void run_call(struct vm *vm, struct vm_call *call) {
        struct lifecycle *lifecycle = vm->lifecycle;
        struct wla_error err = {0};

        if (take_over(vm, call)) {
                end_call(call, NULL);
                return;
        }

        int outcome = 0;
        if (call->order.why == OPEN_BY_HAND)
                outcome = check_by_hand(vm, call, &err);
        else if (call->order.why == OPEN_FOR_MIGRATION)
                outcome = check_arrival(vm, &err);
        else
                outcome = check_start(vm, &err);
        bool replaces = call->order.left_here || are_all_empty(vm, call);
        bool anew = outcome == 0 && call->order.why != OPEN_BY_HAND;
        if (anew)
                let_go(vm, call);
        if (outcome == 0)
                outcome = lifecycle_need_pool(lifecycle, &err);
        vm->launch_by_hand = call->order.why == OPEN_BY_HAND;
        if (outcome == 0)
                outcome = start_launch(vm, call, replaces, &err);
        if (outcome < 0) {
                if (anew)
                        end_arrival(vm);
                end_call(call, &err);
                lifecycle_go_on(vm);
                return;
        }
        vm->call = call;
}

/* What has been opened so far is closed before the newer one begins. */
static void supersede(struct vm *vm, struct vm_call *call) {
        struct vm_call *older = vm->waiting ? vm->waiting : vm->call;
        struct wla_error err = {0};

        if (vm->waiting)
                vm->waiting = NULL;
        else
                vm->call = NULL;
        vm->waiting = call;
        if (older) {
                (void)wla_fail_hint(&err, WLA_E_BUSY, hint_newer,
                                    "VM %s is being started once more", vm->uuid.text);
                end_call(older, &err);
        }
        if (vm->launch)
                launch_cancel(vm->launch);
}

static void begin(struct vm *vm, struct vm_call *call) {
        struct wla_error err = {0};

        if (!vm->launch && !vm->nova_return) {
                run_call(vm, call);
                return;
        }
        if (call->order.why == OPEN_BY_HAND) {
                (void)wla_fail_hint(&err, WLA_E_BUSY, "try again later",
                                    "disks of VM %s are being opened", vm->uuid.text);
        } else if (call->order.why == OPEN_FOR_START || check_arrival(vm, &err) == 0) {
                supersede(vm, call);
                return;
        }
        end_call(call, &err);
}

static void fail_at_once(const struct vm_order *order) {
        struct wla_error err = {0};

        for (size_t i = 0; order->header_fds && i < order->disk_count; i++) {
                int fd = order->header_fds[i];

                file_closep(&fd);
        }
        (void)wla_fail(&err, WLA_E_BUSY, "out of memory");
        report_refused(&order->uuid, order->name, &err);
        order->done(order->userdata, &err);
}

void lifecycle_open(struct lifecycle *lifecycle, const struct vm_order *order,
                    struct vm_call **ret) {
        struct vm *vm = lifecycle_find(lifecycle, &order->uuid);
        struct vm_call *call = NULL;
        bool ended = false;

        *ret = NULL;
        if (!vm)
                vm = lifecycle_add(lifecycle, &order->uuid, order->name);
        if (!vm || copy_order(order, &call) < 0) {
                if (vm)
                        lifecycle_tidy(vm);
                fail_at_once(order);
                return;
        }

        if (order->name[0] != '\0')
                vm_set_name(vm, order->name);
        call->vm = vm;
        call->ended = &ended;
        begin(vm, call);
        if (ended)
                return;
        call->ended = NULL;
        *ret = call;
}

void vm_call_cancel(struct vm_call *call) {
        struct vm *vm = call->vm;
        struct wla_error err = {0};

        (void)wla_fail(&err, WLA_E_TIMEOUT, "who asked for them has gone, or the time was over");
        report_launch(vm, clock_now_usec() - call->arrived_usec, &call->times, &err);
        if (vm->waiting == call) {
                vm->waiting = NULL;
                free_call(call);
                return;
        }
        vm->call = NULL;
        free_call(call);
        launch_cancel(vm->launch);
}
