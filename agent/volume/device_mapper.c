/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/device_mapper.h"

#include <errno.h>
#include <libdevmapper.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#define NAMES_MAX (1024u * 1024u)

/* Of libdevmapper's levels; what is above are flags. */
#define LEVEL_MASK 0xf

#define UDEV_PATIENCE_USEC (5 * USEC_PER_SEC)
#define UDEV_PAUSE_NSEC    2000000

static const char hint_module[] =
        "'modprobe dm-crypt' loads what is needed; systemd does so at boot "
        "(modules-load.d)";

/* Of whoever wants the messages; NULL: nobody. */
static struct {
        char *text;
        size_t size;
} kept;

/* What matters for our own tasks is in errno; it would speak on standard error. */
static void take_message(int level, const char *file, int line, int errno_value, const char *format,
                         ...) __attribute__((format(printf, 5, 6)));

static void take_message(int level, const char *file, int line, int errno_value, const char *format,
                         ...) {
        va_list args;

        (void)file;
        (void)line;
        (void)errno_value;
        if (!kept.text || (level & LEVEL_MASK) > LOG_ERR)
                return;
        va_start(args, format);
        (void)vsnprintf(kept.text, kept.size, format, args);
        va_end(args);
}

void dm_message_keep(char *text, size_t size) {
        kept.text = text;
        kept.size = size;
        /* libcryptsetup has set its own for as long as it has a device; tasks of ours put this in its place. */
        dm_log_with_errno_init(take_message);
}

void dm_forget(void) {
        dm_lib_exit();
}

static void task_free(struct dm_task **task) {
        if (*task)
                dm_task_destroy(*task);
}

#define _cleanup_task_ __attribute__((cleanup(task_free)))

static int task_new(int type, const char *name, struct dm_task **ret, struct wla_error *err) {
        dm_log_with_errno_init(take_message);

        struct dm_task *task = dm_task_create(type);
        if (!task)
                return wla_fail_hint(err, WLA_E_SYSTEM, hint_module,
                                     "the kernel's device-mapper does not answer");
        if (name && !dm_task_set_name(task, name)) {
                dm_task_destroy(task);
                return wla_fail(err, WLA_E_SYSTEM, "device-mapper does not take the name %s", name);
        }

        *ret = task;
        return 0;
}

static int task_run(struct dm_task *task, const char *what, struct wla_error *err) {
        if (dm_task_run(task))
                return 0;
        return wla_fail_errno(err, dm_task_get_errno(task), "device-mapper cannot %s", what);
}

/* The one line of the table; more than one is none of ours. */
static void read_table(struct dm_task *task, struct dm_device *device) {
        uint64_t start = 0;
        uint64_t length = 0;
        char *target = NULL;
        char *parameters = NULL;

        void *next = dm_get_next_target(task, NULL, &start, &length, &target, &parameters);
        if (next || !target || !parameters || strlen(target) >= sizeof(device->target) ||
            strlen(parameters) >= sizeof(device->parameters))
                return;

        device->start = start;
        device->sectors = length;
        (void)snprintf(device->target, sizeof(device->target), "%s", target);
        (void)snprintf(device->parameters, sizeof(device->parameters), "%s", parameters);
}

int dm_device_find(const char *name, struct dm_device *ret, struct wla_error *err) {
        _cleanup_task_ struct dm_task *task = NULL;
        struct dm_device device = {0};
        struct dm_info info;

        if (task_new(DM_DEVICE_TABLE, name, &task, err) < 0)
                return -1;
        /* A table may hold a key, and then the kernel wipes its copy. */
        (void)dm_task_secure_data(task);
        if (!dm_task_run(task)) {
                int errno_value = dm_task_get_errno(task);

                if (errno_value != ENXIO)
                        return wla_fail_errno(err, errno_value, "asking for the table of %s", name);
                *ret = device;
                return 0;
        }
        if (!dm_task_get_info(task, &info))
                return wla_fail(err, WLA_E_SYSTEM, "device-mapper tells nothing of %s", name);

        device.exists = info.exists;
        if (device.exists) {
                device.read_only = info.read_only;
                device.leaves_at_last_close = info.deferred_remove;
                device.major = info.major;
                device.minor = info.minor;
                device.open_count = info.open_count > 0 ? (uint32_t)info.open_count : 0;
                if (info.live_table)
                        read_table(task, &device);
        }
        *ret = device;
        return 0;
}

/* Kernels from 5.3 answer with EINVAL for a target that they cannot have, and older ones have no LOOP_CONFIGURE. */
bool dm_target_exists(const char *target) {
        _cleanup_task_ struct dm_task *task = NULL;
        struct wla_error ignored = {0};

        if (task_new(DM_DEVICE_GET_TARGET_VERSION, target, &task, &ignored) < 0)
                return true;
        return dm_task_run(task) || dm_task_get_errno(task) != EINVAL;
}

static int fail_remove(const char *name, int errno_value, struct wla_error *err) {
        if (errno_value == EBUSY)
                return wla_fail(err, WLA_E_BUSY, "%s is in use", name);
        if (errno_value == ENXIO)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no %s", name);
        return wla_fail_errno(err, errno_value, "removing %s", name);
}

/* dm_udev_wait() has no limit, and waits for ever when a cookie is lost.  By now the device is gone, its link
 * is udev's affair; whoever meets a link that has been left is told (volume/held_device.h).  A udev that was
 * silent once is not waited for again by this process. */
static void wait_for_udev(uint32_t cookie) {
        static uint64_t patience_usec = UDEV_PATIENCE_USEC;
        const struct timespec pause = {.tv_nsec = UDEV_PAUSE_NSEC};
        uint64_t give_up_usec = clock_now_usec() + patience_usec;
        int ready = 0;

        while (dm_udev_wait_immediate(cookie, &ready) && !ready) {
                if (clock_now_usec() >= give_up_usec) {
                        log_line(LOG_WARNING,
                                 "udev does not answer: 'systemctl status systemd-udevd'");
                        (void)semctl(semget((key_t)cookie, 1, 0), 0, IPC_RMID);
                        patience_usec = 0;
                        return;
                }
                (void)nanosleep(&pause, NULL);
        }
}

int dm_device_remove(const char *name, bool at_last_close, struct wla_error *err) {
        _cleanup_task_ struct dm_task *task = NULL;
        uint32_t cookie = 0;

        if (task_new(DM_DEVICE_REMOVE, name, &task, err) < 0)
                return -1;
        if (at_last_close && !dm_task_deferred_remove(task))
                return wla_fail(err, WLA_E_SYSTEM, "device-mapper cannot remove devices later");
        /* udev takes the link below /dev/mapper away; with the cookie that is waited for. */
        if (!dm_task_set_cookie(task, &cookie, DM_UDEV_DISABLE_LIBRARY_FALLBACK))
                return wla_fail(err, WLA_E_SYSTEM, "device-mapper cannot wait for udev");

        bool done = dm_task_run(task);
        int errno_value = dm_task_get_errno(task);
        wait_for_udev(cookie);
        return done ? 0 : fail_remove(name, errno_value, err);
}

static bool is_ours(const char *name) {
        return strncmp(name, VOLUME_NAME_PREFIX, strlen(VOLUME_NAME_PREFIX)) == 0;
}

/* Copied before anything else is asked: the names live as long as the task. */
static int collect_names(struct buf *names, struct wla_error *err) {
        _cleanup_task_ struct dm_task *task = NULL;

        if (task_new(DM_DEVICE_LIST, NULL, &task, err) < 0 ||
            task_run(task, "list its devices", err) < 0)
                return -1;

        struct dm_names *entry = dm_task_get_names(task);
        if (!entry || !entry->dev)
                return 0;
        for (;;) {
                if (is_ours(entry->name) &&
                    buf_append(names, entry->name, strlen(entry->name) + 1, err) < 0)
                        return -1;
                if (entry->next == 0)
                        return 0;
                entry = (struct dm_names *)(void *)((char *)entry + entry->next);
        }
}

int dm_device_each(int (*each)(const char *name, void *userdata, struct wla_error *err),
                   void *userdata, struct wla_error *err) {
        _cleanup_buf_ struct buf names = BUF_WITH_LIMIT(NAMES_MAX);

        if (collect_names(&names, err) < 0)
                return -1;
        for (size_t at = 0; at < names.size; at += strlen((const char *)names.data + at) + 1)
                if (each((const char *)names.data + at, userdata, err) < 0)
                        return -1;
        return 0;
}
