/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/used_files.h"

#include <time.h>

#include "base/clock.h"
#include "volume/crypt_table.h"
#include "volume/mapping.h"

#define PAUSE_NSEC 20000000

static const char hint_close[] =
        "stop the VM that uses it, or close it with 'wlagent volume close'";

struct wanted_file {
        dev_t device;
        ino_t inode;
        bool writable_only;
};

int used_file_find(const struct dm_device *device, struct loop_backing *ret,
                   struct wla_error *err) {
        struct crypt_table table;

        if (crypt_table_read(device, &table, err) < 0) {
                err->code = WLA_E_NOT_FOUND;
                return -1;
        }
        return loop_device_inspect(table.major, table.minor, ret, err);
}

static int refuse_if_over(const char *name, void *userdata, struct wla_error *err) {
        const struct wanted_file *wanted = userdata;
        struct loop_backing backing;
        struct dm_device device;

        if (dm_device_find(name, &device, err) < 0)
                return -1;
        if (device.read_only && wanted->writable_only)
                return 0;
        /* It may have gone meanwhile. */
        if (!device.exists || used_file_find(&device, &backing, err) < 0) {
                if (device.exists && err->code != WLA_E_NOT_FOUND)
                        return -1;
                *err = (struct wla_error){0};
                return 0;
        }
        if (backing.device == wanted->device && backing.inode == wanted->inode)
                return wla_fail_hint(err, WLA_E_BUSY, hint_close, "it is open as %s", name);
        return 0;
}

int used_file_refuse(dev_t device, ino_t inode, bool writable_only, struct wla_error *err) {
        struct wanted_file wanted = {
                .device = device,
                .inode = inode,
                .writable_only = writable_only,
        };

        const struct timespec pause = {.tv_nsec = PAUSE_NSEC};
        uint64_t give_up_usec = clock_now_usec() + MAPPING_WAIT_USEC;

        for (;;) {
                *err = (struct wla_error){0};
                if (dm_device_each(refuse_if_over, &wanted, err) == 0)
                        return 0;
                if (err->code != WLA_E_BUSY || clock_now_usec() >= give_up_usec)
                        return -1;
                (void)nanosleep(&pause, NULL);
        }
}
