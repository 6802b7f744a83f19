/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_fixture.h"
#include "suite.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/btrfs.h>
#include <linux/magic.h>

#include "cli/encrypted_storage.h"

#define DEVICE "/sys/class/block/dm-9"
#define LUKS   "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-root\n"
#define LVM    "LVM-abcdefghijklmnopqrstuvwxyz\n"

#define BTRFS "/sys/fs/btrfs/01020304-0506-0708-090a-0b0c0d0e0fff/devices/"

int __real_statfs64(const char *path, struct statfs *facts);
int __wrap_statfs64(const char *path, struct statfs *facts);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

/* On how many devices the file system is that says it is btrfs; 0: it says what it is. */
static unsigned btrfs_devices;
static bool btrfs_is_silent;

int __wrap_statfs64(const char *path, struct statfs *facts) {
        int outcome = __real_statfs64(path, facts);

        if (outcome == 0 && btrfs_devices > 0)
                facts->f_type = BTRFS_SUPER_MAGIC;
        return outcome;
}

int __wrap_ioctl(int fd, unsigned long request, ...) {
        static const uint8_t id[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255};
        va_list arguments;

        va_start(arguments, request);
        void *argument = va_arg(arguments, void *);
        va_end(arguments);
        if (request != BTRFS_IOC_FS_INFO)
                return __real_ioctl(fd, request, argument);
        if (btrfs_is_silent) {
                errno = EPERM;
                return -1;
        }
        struct btrfs_ioctl_fs_info_args *facts = argument;
        facts->num_devices = btrfs_devices;
        memcpy(facts->fsid, id, sizeof(id));
        return 0;
}

static void put(const char *below, const char *uuid) {
        char path[256];

        (void)snprintf(path, sizeof(path), DEVICE "%s/dm/uuid", below);
        fixture_put(path, 0444, uuid);
}

static bool is_encrypted(void) {
        return encrypted_storage_device(fixture_root(), "dm-9");
}

START_TEST(one_device) {
        fixture_set_up();
        ck_assert(!is_encrypted());
        fixture_make_directory(DEVICE);
        ck_assert(!is_encrypted());
        put("", LUKS);
        ck_assert(is_encrypted());
        put("", LVM);
        ck_assert(!is_encrypted());
        fixture_make_directory(DEVICE "/slaves");
        ck_assert(!is_encrypted());
        fixture_tear_down();
}
END_TEST

START_TEST(lvm_over_luks) {
        fixture_set_up();
        put("", LVM);
        put("/slaves/dm-0", LUKS);
        fixture_make_directory(DEVICE "/slaves/dm-0/slaves/sda3");
        ck_assert(is_encrypted());
        /* What lies below dm-crypt, or above it, does not count. */
        put("/slaves/dm-0/slaves/dm-5", LVM);
        ck_assert(is_encrypted());
        fixture_tear_down();
}
END_TEST

START_TEST(every_way_down) {
        fixture_set_up();
        put("", LVM);
        put("/slaves/dm-0", LUKS);
        put("/slaves/dm-1", LVM);
        put("/slaves/dm-1/slaves/dm-2", "CRYPT-PLAIN-x\n");
        ck_assert(is_encrypted());
        fixture_make_directory(DEVICE "/slaves/dm-1/slaves/sdb");
        ck_assert(!is_encrypted());
        fixture_remove(DEVICE "/slaves/dm-1/slaves/sdb");
        ck_assert(is_encrypted());
        fixture_make_directory(DEVICE "/slaves/sdc");
        ck_assert(!is_encrypted());
        fixture_tear_down();
}
END_TEST

/* cryptsetup gives its prefix to what has no key, too. */
START_TEST(checked_is_not_encrypted) {
        static const char *const kinds[] = {"CRYPT-VERITY-x\n", "CRYPT-INTEGRITY-x\n",
                                            "CRYPT-SUBDEV-x\n"};

        fixture_set_up();
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                put("", kinds[i]);
                ck_assert(!is_encrypted());
        }
        put("/slaves/dm-0", LUKS);
        ck_assert(is_encrypted());
        fixture_tear_down();
}
END_TEST

START_TEST(a_partition_of_an_array) {
        fixture_set_up();
        fixture_put("/sys/devices/md0/slaves/dm-0/dm/uuid", 0444, LUKS);
        fixture_put("/sys/devices/md0/md0p1/partition", 0444, "1\n");
        fixture_make_directory("/sys/class/block");
        ck_assert_int_eq(symlink("../../devices/md0/md0p1", fixture_path(DEVICE)), 0);
        ck_assert(is_encrypted());
        fixture_put("/sys/devices/md0/slaves/dm-0/dm/uuid", 0444, LVM);
        ck_assert(!is_encrypted());
        fixture_tear_down();
}
END_TEST

static void put_below(unsigned depth) {
        char path[200] = "";

        for (unsigned i = 0; i < depth; i++)
                memcpy(path + strlen(path), "/slaves/dm-0", sizeof("/slaves/dm-0"));
        put(path, LUKS);
}

/* The kernel makes no circles and no such depth or number; whoever does is not waited for. */
START_TEST(limits) {
        char path[64];

        fixture_set_up();
        put_below(11);
        ck_assert(is_encrypted());
        fixture_remove(DEVICE "/slaves");
        put_below(12);
        ck_assert(!is_encrypted());
        fixture_remove(DEVICE "/slaves");

        fixture_make_directory(DEVICE "/slaves");
        ck_assert_int_eq(symlink("..", fixture_path(DEVICE "/slaves/dm-0")), 0);
        ck_assert_int_eq(symlink("..", fixture_path(DEVICE "/slaves/dm-1")), 0);
        ck_assert(!is_encrypted());
        ck_assert_int_eq(unlink(fixture_path(DEVICE "/slaves/dm-0")), 0);
        ck_assert_int_eq(unlink(fixture_path(DEVICE "/slaves/dm-1")), 0);

        for (unsigned i = 0; i < 300; i++) {
                (void)snprintf(path, sizeof(path), "/slaves/dm-%u", i);
                put(path, LUKS);
        }
        ck_assert(!is_encrypted());
        fixture_tear_down();
}
END_TEST

START_TEST(faulty_names) {
        static const char *const faulty[] = {"", ".", "..", "mapper/dm-9", "../block/dm-9"};
        char long_name[160];

        fixture_set_up();
        put("", LUKS);
        for (size_t i = 0; i < sizeof(faulty) / sizeof(faulty[0]); i++)
                ck_assert(!encrypted_storage_device(fixture_root(), faulty[i]));
        memset(long_name, 'd', sizeof(long_name) - 1);
        long_name[sizeof(long_name) - 1] = '\0';
        ck_assert(!encrypted_storage_device(fixture_root(), long_name));
        fixture_tear_down();
}
END_TEST

static enum storage storage_at(const char *path) {
        return encrypted_storage_path(fixture_root(), path);
}

START_TEST(paths) {
        struct statfs facts;
        struct stat status;
        char device[128];

        fixture_set_up();
        ck_assert_int_eq(storage_at("/missing"), STORAGE_CLEAR);
        fixture_put("/srv/file", 0600, "");
        ck_assert_int_eq(statfs(fixture_root(), &facts), 0);
        ck_assert_int_eq(stat(fixture_root(), &status), 0);
        if (facts.f_type == TMPFS_MAGIC)
                ck_assert_int_eq(storage_at("/srv/file"), STORAGE_ENCRYPTED);
        else
                ck_assert_int_eq(storage_at("/srv/file"),
                                 major(status.st_dev) == 0 ? STORAGE_UNKNOWN : STORAGE_CLEAR);
        (void)snprintf(device, sizeof(device), "/sys/dev/block/%u:%u/slaves/dm-0/dm/uuid",
                       major(status.st_dev), minor(status.st_dev));
        fixture_put(device, 0444, LUKS);
        ck_assert_int_eq(storage_at("/srv/file"), STORAGE_ENCRYPTED);
        ck_assert_int_eq(storage_at("/srv"), STORAGE_ENCRYPTED);
        ck_assert_int_eq(storage_at("/missing"), STORAGE_CLEAR);
        ck_assert(encrypted_storage_path("", "/dev/shm") == STORAGE_ENCRYPTED ||
                  access("/dev/shm", F_OK) < 0);
        fixture_tear_down();
}
END_TEST

START_TEST(no_device_of_its_own) {
        ck_assert_int_eq(encrypted_storage_path("", "/proc"), STORAGE_UNKNOWN);
        ck_assert_int_eq(encrypted_storage_path("", "/proc/version"), STORAGE_UNKNOWN);
}
END_TEST

/* Each of its devices counts, and none may be out of sight. */
START_TEST(btrfs) {
        fixture_set_up();
        fixture_put("/srv/file", 0600, "");
        btrfs_devices = 2;
        ck_assert_int_eq(storage_at("/srv"), STORAGE_UNKNOWN);
        fixture_put(BTRFS "dm-0/dm/uuid", 0444, LUKS);
        ck_assert_int_eq(storage_at("/srv"), STORAGE_UNKNOWN);
        fixture_put(BTRFS "dm-1/slaves/dm-2/dm/uuid", 0444, LUKS);
        ck_assert_int_eq(storage_at("/srv"), STORAGE_ENCRYPTED);
        ck_assert_int_eq(storage_at("/srv/file"), STORAGE_ENCRYPTED);
        fixture_make_directory(BTRFS "sdb");
        ck_assert_int_eq(storage_at("/srv/file"), STORAGE_CLEAR);
        btrfs_is_silent = true;
        ck_assert_int_eq(storage_at("/srv/file"), STORAGE_UNKNOWN);
        btrfs_is_silent = false;
        btrfs_devices = 0;
        fixture_tear_down();
}
END_TEST

SUITE_MAIN("encrypted_storage", one_device, lvm_over_luks, every_way_down, checked_is_not_encrypted,
           a_partition_of_an_array, limits, faulty_names, paths, no_device_of_its_own, btrfs)
