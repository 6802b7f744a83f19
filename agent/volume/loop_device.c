/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/loop_device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

#define TRIES_MAX 200

static const char hint_module[] = "'modprobe loop' loads what is needed; systemd does so at boot "
                                  "(modules-load.d)";

static int open_control(int *ret, struct wla_error *err) {
        int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

        if (fd < 0) {
                (void)wla_fail_errno(err, errno, "opening /dev/loop-control");
                err->hint = hint_module;
                return -1;
        }
        *ret = fd;
        return 0;
}

static int open_loop(int number, struct loop_device *loop) {
        struct stat status;

        (void)snprintf(loop->path, sizeof(loop->path), "/dev/loop%d", number);
        loop->fd = open(loop->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (loop->fd < 0 || fstat(loop->fd, &status) < 0)
                return -1;
        if (!S_ISBLK(status.st_mode) || major(status.st_rdev) != LOOP_MAJOR) {
                errno = ENOTBLK;
                return -1;
        }
        loop->major = major(status.st_rdev);
        loop->minor = minor(status.st_rdev);
        return 0;
}

/* -1 with errno. */
static int try_attach(int control_fd, const struct loop_config *config, struct loop_device *ret) {
        _cleanup_loop_device_ struct loop_device loop = LOOP_DEVICE_NONE;

        int number = ioctl(control_fd, LOOP_CTL_GET_FREE);
        if (number < 0 || open_loop(number, &loop) < 0 ||
            ioctl(loop.fd, LOOP_CONFIGURE, config) < 0)
                return -1;

        *ret = loop;
        loop = LOOP_DEVICE_NONE;
        return 0;
}

/* Others take free devices too: between the question and the answer (EBUSY), or they remove the one that
 * was free (ENXIO, ENOENT); udev may hold a device that has just come (EAGAIN). */
static bool is_race(int errno_value) {
        return errno_value == EBUSY || errno_value == ENXIO || errno_value == ENOENT ||
               errno_value == EAGAIN || errno_value == ENODEV || errno_value == EINTR;
}

int loop_device_attach(int fd, bool read_only, uint32_t block_size, struct loop_device *ret,
                       struct wla_error *err) {
        const struct loop_config config = {
                .fd = (uint32_t)fd,
                .block_size = block_size,
                .info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO |
                                 (read_only ? (uint32_t)LO_FLAGS_READ_ONLY : 0),
        };
        const struct timespec pause = {.tv_nsec = 5000000};
        _cleanup_close_ int control_fd = -1;

        if (open_control(&control_fd, err) < 0)
                return -1;
        for (int tries = 0; tries < TRIES_MAX; tries++) {
                if (try_attach(control_fd, &config, ret) == 0)
                        return 0;
                if (!is_race(errno))
                        return wla_fail_errno(err, errno, "making a loop device");
                (void)nanosleep(&pause, NULL);
        }
        return wla_fail(err, WLA_E_BUSY, "no free loop device can be had");
}

/* Partitions have minors too, so the name is the kernel's to tell. */
static int open_number(uint32_t major, uint32_t minor, int *ret_fd) {
        char link[64];
        char target[PATH_MAX];
        char path[LOOP_PATH_SIZE];

        (void)snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major, minor);
        ssize_t length = readlink(link, target, sizeof(target) - 1);
        if (length < 0)
                return -1;
        target[length] = '\0';
        const char *name = strrchr(target, '/');
        if (!name || (size_t)snprintf(path, sizeof(path), "/dev%s", name) >= sizeof(path)) {
                errno = ENOENT;
                return -1;
        }

        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct stat status;
        if (fd < 0 || fstat(fd, &status) < 0)
                return -1;
        if (!S_ISBLK(status.st_mode) || status.st_rdev != makedev(major, minor)) {
                errno = ENXIO;
                return -1;
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int loop_device_inspect(uint32_t major, uint32_t minor, struct loop_backing *ret,
                        struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        struct loop_info64 info;

        if (major != LOOP_MAJOR)
                return wla_fail(err, WLA_E_NOT_FOUND, "%u:%u is no loop device", major, minor);
        if (open_number(major, minor, &fd) < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0) {
                if (errno == ENXIO || errno == ENOENT || errno == ENODEV)
                        return wla_fail(err, WLA_E_NOT_FOUND, "there is no loop device %u:%u",
                                        major, minor);
                return wla_fail_errno(err, errno, "looking at loop device %u:%u", major, minor);
        }

        *ret = (struct loop_backing){
                .device = (dev_t)info.lo_device,
                .inode = (ino_t)info.lo_inode,
                .offset = info.lo_offset,
                .size_limit = info.lo_sizelimit,
                .read_only = (info.lo_flags & LO_FLAGS_READ_ONLY) != 0,
                .leaves_at_last_close = (info.lo_flags & LO_FLAGS_AUTOCLEAR) != 0,
        };
        return 0;
}

void loop_device_close(struct loop_device *loop) {
        file_closep(&loop->fd);
        *loop = LOOP_DEVICE_NONE;
}
