/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/encrypted_storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/btrfs.h>
#include <linux/magic.h>

#include "base/file.h"
#include "cli/libvirt_host.h"

/* Disks, an array, dm-crypt, a physical volume, a pool, what lies on it: half of that is deep. */
#define DEPTH_MAX   12u
#define DEVICES_MAX 256u

static void close_list(DIR **list) {
        if (*list)
                (void)closedir(*list);
}

#define _cleanup_list_ __attribute__((cleanup(close_list)))

/* device: the device's directory in /sys. */
static bool is_crypt(int device) {
        static const char *const checked_only[] = {"CRYPT-VERITY-", "CRYPT-INTEGRITY-",
                                                   "CRYPT-SUBDEV-"};
        char uuid[32] = "";

        _cleanup_close_ int fd = openat(device, "dm/uuid", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || read(fd, uuid, sizeof(uuid) - 1) < 0 || strncmp(uuid, "CRYPT-", 6) != 0)
                return false;
        for (size_t i = 0; i < sizeof(checked_only) / sizeof(checked_only[0]); i++)
                if (strncmp(uuid, checked_only[i], strlen(checked_only[i])) == 0)
                        return false;
        return true;
}

static DIR *open_slaves(int device) {
        int fd = openat(device, "slaves", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *slaves = fd < 0 ? NULL : fdopendir(fd);

        if (fd >= 0 && !slaves)
                (void)close(fd);
        return slaves;
}

/* A partition has no slaves of its own; the directory above it is its disk's. */
static int open_disk(int device) {
        bool is_partition = faccessat(device, "partition", F_OK, 0) == 0;

        return openat(device, is_partition ? ".." : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* left: how many devices may still be looked at, on all ways together. */
static bool is_encrypted(int device, unsigned depth, unsigned *left) {
        const struct dirent *entry;
        bool found = false;

        if (device < 0 || depth == 0 || *left == 0)
                return false;
        --*left;
        if (is_crypt(device))
                return true;

        _cleanup_close_ int disk = open_disk(device);
        _cleanup_list_ DIR *slaves = open_slaves(disk);
        while (slaves && (entry = readdir(slaves))) {
                if (entry->d_name[0] == '.')
                        continue;
                _cleanup_close_ int below = openat(dirfd(slaves), entry->d_name,
                                                   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (!is_encrypted(below, depth - 1, left))
                        return false;
                found = true;
        }
        return found;
}

static bool is_encrypted_at(const char *root, const char *path) {
        char whole[PATH_MAX];
        unsigned left = DEVICES_MAX;

        libvirt_host_path(root, path, whole);
        _cleanup_close_ int device = open(whole, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return is_encrypted(device, DEPTH_MAX, &left);
}

bool encrypted_storage_device(const char *root, const char *name) {
        char path[128];
        int size = snprintf(path, sizeof(path), "/sys/class/block/%s", name);

        return size > 0 && (size_t)size < sizeof(path) && name[0] != '.' && !strchr(name, '/') &&
               is_encrypted_at(root, path);
}

/* devices: of one file system, which are count. */
static enum storage storage_of(DIR *devices, uint64_t count) {
        const struct dirent *entry;
        unsigned left = DEVICES_MAX;
        uint64_t found = 0;

        while (devices && (entry = readdir(devices))) {
                if (entry->d_name[0] == '.')
                        continue;
                _cleanup_close_ int device = openat(dirfd(devices), entry->d_name,
                                                    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (!is_encrypted(device, DEPTH_MAX, &left))
                        return STORAGE_CLEAR;
                found++;
        }
        return found > 0 && found >= count ? STORAGE_ENCRYPTED : STORAGE_UNKNOWN;
}

/* path: of a file or directory on it. */
static enum storage storage_of_btrfs(const char *root, const char *path) {
        struct btrfs_ioctl_fs_info_args facts = {0};
        char devices[128];
        char whole[PATH_MAX];

        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || ioctl(fd, BTRFS_IOC_FS_INFO, &facts) < 0)
                return STORAGE_UNKNOWN;

        const uint8_t *id = facts.fsid;
        (void)snprintf(devices, sizeof(devices),
                       "/sys/fs/btrfs/%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
                       "%02x%02x%02x%02x%02x%02x/devices",
                       id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10],
                       id[11], id[12], id[13], id[14], id[15]);
        libvirt_host_path(root, devices, whole);
        _cleanup_list_ DIR *list = opendir(whole);
        return storage_of(list, facts.num_devices);
}

enum storage encrypted_storage_path(const char *root, const char *path) {
        char whole[PATH_MAX];
        char device[64];
        struct statfs facts;
        struct stat status;

        libvirt_host_path(root, path, whole);
        if (statfs(whole, &facts) < 0 || stat(whole, &status) < 0)
                return STORAGE_CLEAR;
        if (facts.f_type == TMPFS_MAGIC || facts.f_type == RAMFS_MAGIC)
                return STORAGE_ENCRYPTED;
        (void)snprintf(device, sizeof(device), "/sys/dev/block/%u:%u", major(status.st_dev),
                       minor(status.st_dev));
        if (is_encrypted_at(root, device))
                return STORAGE_ENCRYPTED;
        if (facts.f_type == BTRFS_SUPER_MAGIC)
                return storage_of_btrfs(root, whole);
        return major(status.st_dev) == 0 ? STORAGE_UNKNOWN : STORAGE_CLEAR;
}
