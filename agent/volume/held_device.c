/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/held_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"

static const char hint_udev[] = "udev makes it: 'systemctl status systemd-udevd', and its rules "
                                "(55-dm.rules) have to be installed";

static int open_link(const char *name, int *ret_fd, struct wla_error *err) {
        char path[sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE];

        (void)snprintf(path, sizeof(path), VOLUME_DEVICE_ROOT "%s", name);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd >= 0) {
                *ret_fd = fd;
                return 0;
        }
        /* What is just going away or has no table yet answers with one of these. */
        if (errno == ENOENT || errno == ENXIO || errno == ENODEV || errno == EBUSY)
                return wla_fail_hint(err, WLA_E_BUSY, hint_udev, "%s cannot be opened", path);
        return wla_fail_errno(err, errno, "opening %s", path);
}

int held_device_open(const char *name, struct mapping *ret, struct dm_device *ret_device,
                     struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        struct dm_device device;
        struct stat status;

        if (open_link(name, &fd, err) < 0)
                return -1;
        if (fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at %s", name);
        /* Held from here on: what the kernel says now stays true. */
        if (dm_device_find(name, &device, err) < 0)
                return -1;
        if (!device.exists || !S_ISBLK(status.st_mode) ||
            status.st_rdev != makedev(device.major, device.minor))
                return wla_fail_hint(err, WLA_E_BUSY, hint_udev,
                                     VOLUME_DEVICE_ROOT "%s is not the device of that name", name);

        *ret = (struct mapping){
                .fd = TAKE_FD(fd),
                .major = device.major,
                .minor = device.minor,
        };
        *ret_device = device;
        return 0;
}
