/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "volume/held_device.h"
#include "volume/loop_device.h"
#include "volume/shared_mapping.h"

#define SECTOR     512u
#define PAUSE_NSEC 20000000

static const char hint_in_use[] =
        "the disk is still open: a former start of this VM, or another tool; "
        "'wlagent volume list' shows it";

static void pause_shortly(void) {
        const struct timespec pause = {.tv_nsec = PAUSE_NSEC};

        (void)nanosleep(&pause, NULL);
}

static struct crypt_table table_of(const struct mapping_plan *plan) {
        return (struct crypt_table){
                .sectors = (plan->data_size - plan->header->data_offset) / SECTOR,
                .offset = plan->header->data_offset / SECTOR,
                .key_size = plan->header->volume_key_size,
                .sector_size = plan->header->sector_size,
                .discards = plan->discards,
        };
}

/* The table has to be over our loop device, and say what we meant. */
static int judge(const struct mapping_plan *plan, const struct dm_device *device,
                 const struct loop_device *loop, struct wla_error *err) {
        const struct crypt_table expected = table_of(plan);
        struct crypt_table table;

        if (crypt_table_read(device, &table, err) < 0)
                return -1;
        if (!crypt_table_equal(&table, &expected) || device->read_only == plan->writable ||
            table.major != loop->major || table.minor != loop->minor)
                return wla_fail(err, WLA_E_DENIED,
                                "its table in the kernel is not what it should be");
        return 0;
}

/* From here on the device exists; whatever fails takes it away again. */
static int hold_new(const struct mapping_plan *plan, const char *name,
                    const struct loop_device *loop, struct mapping *ret, struct wla_error *err) {
        _cleanup_mapping_ struct mapping mapping = MAPPING_NONE;
        struct dm_device device;

        if (held_device_open(name, &mapping, &device, err) < 0 ||
            judge(plan, &device, loop, err) < 0 || dm_device_remove(name, true, err) < 0)
                return -1;

        *ret = mapping;
        mapping = MAPPING_NONE;
        return 0;
}

static int activate(const struct mapping_plan *plan, const char *name,
                    const struct wla_secret *volume_key, const struct loop_device *loop,
                    struct wla_error *err) {
        const struct crypt_activation activation = {
                .name = name,
                .data = loop->path,
                .writable = plan->writable,
                .discards = plan->discards,
        };

        return crypt_volume_activate(plan->volume, volume_key, &activation, err);
}

/* The loop comes before the key: files opened while a key is in the keyring would keep it. */
static int make_once(const struct mapping_plan *plan, const char *name,
                     const struct wla_secret *volume_key, struct mapping *ret,
                     struct wla_error *err) {
        _cleanup_loop_device_ struct loop_device loop = LOOP_DEVICE_NONE;
        struct wla_error ignored = {0};

        if (plan->data_size <= plan->header->data_offset ||
            (plan->data_size - plan->header->data_offset) % plan->header->sector_size != 0)
                return wla_fail(err, WLA_E_INPUT, "the file does not hold whole sectors");
        if (loop_device_attach(plan->data_fd, !plan->writable, plan->header->sector_size, &loop,
                               err) < 0 ||
            activate(plan, name, volume_key, &loop, err) < 0)
                return -1;

        if (hold_new(plan, name, &loop, ret, err) < 0) {
                if (dm_device_remove(name, true, &ignored) < 0)
                        return wla_wrap(err, "%s, which could not be removed again", name);
                return -1;
        }
        return 0;
}

/* Whether another try may find the name in another state. */
static bool is_passing(const struct wla_error *err, uint64_t give_up_usec) {
        return err->code == WLA_E_BUSY && clock_now_usec() < give_up_usec;
}

static int wait_until_gone(const char *name, uint64_t give_up_usec, struct wla_error *err) {
        struct dm_device device;

        for (;;) {
                if (dm_device_find(name, &device, err) < 0)
                        return -1;
                if (!device.exists)
                        return 0;
                if (clock_now_usec() >= give_up_usec)
                        return wla_fail_hint(err, WLA_E_BUSY, hint_in_use,
                                             "%s exists already, open %u times", name,
                                             device.open_count);
                pause_shortly();
        }
}

int mapping_make(const struct mapping_plan *plan, const struct wla_secret *volume_key,
                 struct mapping *ret, struct wla_error *err) {
        uint64_t give_up_usec = clock_now_usec() + MAPPING_WAIT_USEC;
        char name[VOLUME_NAME_SIZE];

        volume_name_write(&plan->name, name);
        for (;;) {
                if (wait_until_gone(name, give_up_usec, err) < 0)
                        return -1;
                if (make_once(plan, name, volume_key, ret, err) == 0)
                        return 0;
                if (!is_passing(err, give_up_usec))
                        return wla_wrap(err, "%s", name);
                pause_shortly();
        }
}

static int share_or_make_once(const struct mapping_plan *plan, const char *name,
                              const struct wla_secret *volume_key, struct mapping *ret,
                              struct wla_error *err) {
        const struct crypt_table expected = table_of(plan);
        struct dm_device device;

        if (dm_device_find(name, &device, err) < 0)
                return -1;
        if (!device.exists)
                return make_once(plan, name, volume_key, ret, err);
        return shared_mapping_take(plan, name, &expected, volume_key, ret, err);
}

int mapping_make_or_share(const struct mapping_plan *plan, const struct wla_secret *volume_key,
                          struct mapping *ret, struct wla_error *err) {
        uint64_t give_up_usec = clock_now_usec() + MAPPING_SHARE_WAIT_USEC;
        char name[VOLUME_NAME_SIZE];

        volume_name_write(&plan->name, name);
        for (;;) {
                if (share_or_make_once(plan, name, volume_key, ret, err) == 0)
                        return 0;
                if (!is_passing(err, give_up_usec))
                        return wla_wrap(err, "%s", name);
                pause_shortly();
        }
}

void mapping_close(struct mapping *mapping) {
        file_closep(&mapping->fd);
        *mapping = MAPPING_NONE;
}
