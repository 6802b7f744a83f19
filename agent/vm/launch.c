/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/launch.h"

#include <stdlib.h>

#include "base/file.h"

enum stage {
        INSPECTING,
        UNLOCKING,
        OPENING,
};

struct waiting_disk {
        struct launch *launch;
        struct launch_disk disk;
        struct key_ticket *ticket;
};

struct launch {
        struct pool_job job; /* first: the pool hands it back */
        struct launch_options options;
        struct deadline deadline;
        enum stage stage;
        uint64_t stage_usec; /* when it began */
        struct launch_times times;
        bool cancelled;
        bool asking; /* keys are being asked for: more may be asked for after the present one */
        size_t keys_missing;

        /* Written by the worker, read after it has handed the job back. */
        int outcome;
        struct wla_error err;

        size_t disk_count;
        struct waiting_disk disks[];
};

static const char hint_busy[] = "many VMs start at once, or wlagent-volumed is slow; see 'wlagent "
                                "status' and the journal of wlagent-volumed";

static struct launch_place place_of(const struct launch *launch) {
        return (struct launch_place){
                .socket = launch->options.socket,
                .vm = &launch->options.vm,
                .arriving = launch->options.arriving,
                .replaces = launch->options.replaces,
                .deadline = &launch->deadline,
        };
}

static void finish(struct launch *launch) {
        if (launch->cancelled && launch->outcome == 0)
                launch->outcome = wla_fail(&launch->err, WLA_E_TIMEOUT, "the start was given up");
        if (launch->outcome < 0)
                for (size_t i = 0; i < launch->disk_count; i++)
                        launch_disk_close(&launch->disks[i].disk);
        launch->options.done(launch->options.userdata, launch,
                             launch->outcome < 0 ? &launch->err : NULL);
}

static void inspect(struct pool_job *job) {
        struct launch *launch = (struct launch *)job;
        const struct launch_place place = place_of(launch);

        for (size_t i = 0; i < launch->disk_count && launch->outcome == 0; i++)
                launch->outcome = launch_disk_inspect(&launch->disks[i].disk, &place, &launch->err);
}

/* Its secret has the value already. */
static bool is_served(const struct launch *launch, size_t at) {
        const struct protected_disk *line = &launch->disks[at].disk.line;

        for (size_t i = 0; i < at; i++)
                if (line->mode == DISK_SECRET &&
                    uuid_equal(&launch->disks[i].disk.line.secret, &line->secret))
                        return true;
        return false;
}

static void map(struct pool_job *job) {
        struct launch *launch = (struct launch *)job;
        const struct launch_place place = place_of(launch);

        for (size_t i = 0; i < launch->disk_count && launch->outcome == 0; i++)
                if (!is_served(launch, i))
                        launch->outcome = launch_disk_open(&launch->disks[i].disk, &place,
                                                           &launch->err);
        if (launch->outcome < 0)
                for (size_t i = 0; i < launch->disk_count; i++)
                        launch_disk_undo(&launch->disks[i].disk, &place);
}

/* What the stage has taken that ends now. */
static uint64_t lap_usec(struct launch *launch) {
        uint64_t begun_usec = launch->stage_usec;

        launch->stage_usec = clock_now_usec();
        return launch->stage_usec - begun_usec;
}

static int submit(struct launch *launch, enum stage stage) {
        launch->stage = stage;
        launch->job.run = stage == INSPECTING ? inspect : map;
        return pool_submit(launch->options.pool, &launch->job, &launch->err);
}

static void open_all(struct launch *launch) {
        launch->times.key_usec = lap_usec(launch);
        if (launch->outcome == 0)
                launch->outcome = launch->options.intend(launch->options.userdata, launch,
                                                         &launch->err);
        if (launch->outcome < 0) {
                finish(launch);
                return;
        }
        /* From here on outcome is the worker's, unless there is none. */
        if (submit(launch, OPENING) < 0) {
                launch->outcome = -1;
                finish(launch);
        }
}

static void drop_tickets(struct launch *launch) {
        for (size_t i = 0; i < launch->disk_count; i++)
                if (launch->disks[i].ticket) {
                        key_ticket_cancel(launch->disks[i].ticket);
                        launch->disks[i].ticket = NULL;
                        launch->keys_missing--;
                }
}

static void take_key(void *userdata, const struct wla_secret *key,
                     const struct wla_error *failure) {
        struct waiting_disk *waiting = userdata;
        struct launch *launch = waiting->launch;

        waiting->ticket = NULL;
        launch->keys_missing--;
        if (failure) {
                launch->err = *failure;
                launch->outcome = wla_wrap(&launch->err, "disk %s: its key",
                                           waiting->disk.line.target);
        } else {
                launch->outcome = launch_disk_judge_flavor(&waiting->disk, &launch->err);
                if (launch->outcome == 0)
                        launch->outcome = launch_disk_unlock(&waiting->disk, key, &launch->err);
        }
        if (launch->outcome < 0)
                drop_tickets(launch);
        if (!launch->asking && launch->keys_missing == 0)
                open_all(launch);
}

static void ask_for_keys(struct launch *launch) {
        launch->stage = UNLOCKING;
        launch->asking = true;
        for (size_t i = 0; i < launch->disk_count && launch->outcome == 0; i++) {
                struct waiting_disk *waiting = &launch->disks[i];
                const struct key_waiter waiter = {
                        .deadline_usec = launch->options.deadline_usec,
                        .ready = take_key,
                        .userdata = waiting,
                        .anew = true,
                        .ret_terms = &waiting->disk.terms,
                };

                launch->keys_missing++;
                key_access_begin(launch->options.access, &waiting->disk.key_id,
                                 &launch->options.peer, &waiter, &waiting->ticket);
        }
        launch->asking = false;
        if (launch->keys_missing == 0)
                open_all(launch);
}

static void came_back(struct pool_job *job, bool dropped) {
        struct launch *launch = (struct launch *)job;
        uint64_t taken_usec = lap_usec(launch);

        if (launch->stage == OPENING)
                launch->times.open_usec = taken_usec;
        else
                launch->times.inspect_usec = taken_usec;
        if (dropped)
                launch->outcome = wla_fail_hint(&launch->err, WLA_E_TIMEOUT, hint_busy,
                                                "the disks were not opened in time");
        if (launch->outcome < 0 || launch->cancelled || launch->stage == OPENING)
                finish(launch);
        else
                ask_for_keys(launch);
}

int launch_begin(const struct launch_options *options, const struct protected_disk *disks,
                 const int *header_fds, size_t disk_count, struct launch **ret,
                 struct wla_error *err) {
        struct launch *launch = calloc(1, sizeof(*launch) + disk_count * sizeof(launch->disks[0]));

        if (!launch) {
                for (size_t i = 0; header_fds && i < disk_count; i++) {
                        int fd = header_fds[i];

                        file_closep(&fd);
                }
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }
        launch->options = *options;
        launch->disk_count = disk_count;
        for (size_t i = 0; i < disk_count; i++) {
                launch->disks[i].launch = launch;
                launch->disks[i].disk.line = disks[i];
                launch->disks[i].disk.header_fd = header_fds ? header_fds[i] : -1;
        }
        deadline_init(&launch->deadline, options->deadline_usec);
        launch->stage_usec = clock_now_usec();
        launch->job = (struct pool_job){.done = came_back, .deadline = &launch->deadline};
        if (submit(launch, INSPECTING) < 0) {
                *err = launch->err;
                launch_free(launch);
                return -1;
        }
        *ret = launch;
        return 0;
}

void launch_cancel(struct launch *launch) {
        launch->cancelled = true;
        deadline_cancel(&launch->deadline);
        if (launch->stage != UNLOCKING)
                return;
        drop_tickets(launch);
        finish(launch);
}

struct launch *launch_free(struct launch *launch) {
        if (!launch)
                return NULL;

        for (size_t i = 0; i < launch->disk_count; i++)
                launch_disk_close(&launch->disks[i].disk);
        free(launch);
        return NULL;
}

struct launch_times launch_times(const struct launch *launch) {
        return launch->times;
}

size_t launch_disk_count(const struct launch *launch) {
        return launch->disk_count;
}

struct launch_disk *launch_disk_at(struct launch *launch, size_t at) {
        return &launch->disks[at].disk;
}

const struct launch_disk *launch_disk_look(const struct launch *launch, size_t at) {
        return &launch->disks[at].disk;
}
