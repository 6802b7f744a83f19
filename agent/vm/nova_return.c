/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/nova_return.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "vm/lifecycle_state.h"
#include "vm/nova.h"

#define RETURN_TIME (5 * USEC_PER_SEC)

struct nova_return {
        struct pool_job job; /* first: the pool hands it back */
        struct vm *vm;
        struct uuid uuid; /* of the VM, for the worker */
        const char *socket;
        struct deadline deadline;
        char base[VOLUMED_PATH_SIZE];
        struct nova_target target;
        void (*go_on)(struct vm *vm, const struct wla_error *err);
        bool again; /* when this one has ended */
        void (*done)(void *userdata);
        void *userdata;

        /* Written by the worker, read after it has handed the job back. */
        int outcome;
        struct wla_error err;
};

static void point_back(struct pool_job *job) {
        struct nova_return *back = (struct nova_return *)job;
        const struct launch_place place = {
                .socket = back->socket,
                .vm = &back->uuid,
                .deadline = &back->deadline,
        };

        back->outcome = nova_point(&back->target, &place, &back->err);
}

static void tell(const struct nova_return *back) {
        int level = LOG_WARNING;

        /* On shared storage the instance may run elsewhere by now; and most that are asked for again run. */
        if (back->err.code == WLA_E_BUSY)
                level = back->vm->nova_busy_until_usec > 0 ? LOG_DEBUG : LOG_INFO;
        log_line(level, "the disk of instance %s still names the mapping of its image: %s",
                 back->uuid.text, wla_error_text(&back->err));
}

static int begin(struct nova_return *back, struct wla_error *err) {
        struct lifecycle *lifecycle = back->vm->lifecycle;

        deadline_init(&back->deadline, clock_now_usec() + RETURN_TIME);
        back->again = false;
        back->outcome = 0;
        if (lifecycle_need_pool(lifecycle, err) < 0)
                return -1;
        return pool_submit(lifecycle->pool, &back->job, err);
}

static void came_back(struct pool_job *job, bool dropped) {
        struct nova_return *back = (struct nova_return *)job;
        struct vm *vm = back->vm;

        if (dropped)
                back->outcome = wla_fail(&back->err, WLA_E_TIMEOUT, "no worker was free");
        if (back->again) {
                back->err = (struct wla_error){0};
                if (begin(back, &back->err) == 0)
                        return;
                back->outcome = -1;
        }
        if (back->outcome < 0)
                tell(back);
        vm->nova_return = NULL;
        if (back->done)
                back->done(back->userdata);
        back->go_on(vm, back->outcome < 0 ? &back->err : NULL);
        free(back);
}

void nova_return_begin(const struct vm_disk *disk,
                       void (*go_on)(struct vm *vm, const struct wla_error *err)) {
        struct vm *vm = disk->vm;
        struct nova_return *back = vm->nova_return;

        if (back) {
                back->again = true;
                back->go_on = go_on;
                return;
        }
        back = calloc(1, sizeof(*back));
        if (!back) {
                log_line(LOG_WARNING,
                         "out of memory: the disk of instance %s still names a mapping",
                         vm->uuid.text);
                return;
        }
        back->job = (struct pool_job){
                .run = point_back, .done = came_back, .deadline = &back->deadline};
        back->vm = vm;
        back->uuid = vm->uuid;
        back->socket = vm->lifecycle->options.volume_socket;
        back->go_on = go_on;
        memcpy(back->base, disk->image, sizeof(back->base));
        back->target = (struct nova_target){
                .base = back->base, .image = disk->nova_image, .header = disk->header};
        if (begin(back, &back->err) < 0) {
                tell(back);
                free(back);
                return;
        }
        vm->nova_return = back;
}

void nova_return_wait(struct nova_return *nova_return, void (*done)(void *userdata),
                      void *userdata) {
        if (nova_return->done)
                nova_return->done(nova_return->userdata);
        nova_return->done = done;
        nova_return->userdata = userdata;
}
