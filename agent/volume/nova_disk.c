/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/nova_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/qcow2_backing.h"

#define QEMU_LOCKS_START 100
#define QEMU_LOCKS_SIZE  200

static const char hint_layer[] =
        "Nova makes such disks with [libvirt] images_type=qcow2 and use_cow_images";

static int lock(int fd, struct wla_error *err) {
        struct flock range = {
                .l_type = F_WRLCK,
                .l_whence = SEEK_SET,
                .l_start = QEMU_LOCKS_START,
                .l_len = QEMU_LOCKS_SIZE,
        };

        if (fcntl(fd, F_OFD_SETLK, &range) == 0)
                return 0;
        if (errno == EAGAIN || errno == EACCES)
                return wla_fail_hint(err, WLA_E_BUSY, "stop what uses it, then start the VM again",
                                     "the instance's disk is in use by another process");
        return wla_fail_errno(err, errno, "locking the instance's disk");
}

static int read_head(int fd, uint8_t *bytes, size_t *ret_size, struct wla_error *err) {
        struct stat status;
        size_t size = 0;

        if (fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the instance's disk");
        if (!S_ISREG(status.st_mode))
                return wla_fail(err, WLA_E_INPUT, "the instance's disk is not a regular file");

        while (size < QCOW2_BACKING_SPAN) {
                ssize_t got = pread(fd, bytes + size, QCOW2_BACKING_SPAN - size, (off_t)size);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return wla_fail_errno(err, errno, "reading the instance's disk");
                if (got == 0)
                        break;
                size += (size_t)got;
        }
        *ret_size = size;
        return 0;
}

static int write_range(int fd, const uint8_t *bytes, struct qcow2_range range,
                       struct wla_error *err) {
        while (range.size > 0) {
                ssize_t put = pwrite(fd, bytes + range.offset, range.size, range.offset);

                if (put < 0 && errno == EINTR)
                        continue;
                if (put < 0)
                        return wla_fail_errno(err, errno, "writing the instance's disk");
                range.offset += (uint32_t)put;
                range.size -= (uint32_t)put;
        }
        if (fdatasync(fd) < 0)
                return wla_fail_errno(err, errno, "writing the instance's disk");
        return 0;
}

static const char *wanted_name(const struct nova_disk_backing *backing) {
        return backing->to_mapping ? backing->mapping : backing->base;
}

static enum image_content wanted_format(const struct nova_disk_backing *backing) {
        return backing->to_mapping ? backing->content : IMAGE_CONTENT_RAW;
}

static int check(const struct qcow2_backing *disk, const struct nova_disk_backing *backing,
                 struct wla_error *err) {
        if (disk->name[0] == '\0')
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_layer,
                                     "the instance's disk is not a layer over its image");
        if (strcmp(disk->name, backing->base) != 0 && strcmp(disk->name, backing->mapping) != 0)
                return wla_fail(err, WLA_E_INPUT,
                                "the instance's disk is a layer over %.256s, not over its image",
                                disk->name);
        if (backing->to_mapping && disk->virtual_size < backing->virtual_size)
                return wla_fail_hint(err, WLA_E_INPUT, "choose a flavor with a larger disk",
                                     "the instance's disk has %" PRIu64
                                     " bytes, its image has %" PRIu64,
                                     disk->virtual_size, backing->virtual_size);
        return 0;
}

/* What the disk names now, and whether that is what is wanted. */
static int look(int fd, const struct nova_disk_backing *backing, uint8_t *bytes, size_t *ret_size,
                bool *ret_wanted, struct wla_error *err) {
        struct qcow2_backing disk;

        if (read_head(fd, bytes, ret_size, err) < 0)
                return -1;
        if (qcow2_backing_read(bytes, *ret_size, &disk, err) < 0) {
                err->hint = err->hint ? err->hint : hint_layer;
                return wla_wrap(err, "the instance's disk");
        }
        if (check(&disk, backing, err) < 0)
                return -1;
        *ret_wanted = strcmp(disk.name, wanted_name(backing)) == 0 &&
                      disk.format == wanted_format(backing);
        return 0;
}

static int change(int fd, const struct nova_disk_backing *backing, uint8_t *bytes, size_t size,
                  struct wla_error *err) {
        const struct qcow2_range head = {.size = QCOW2_HEAD_SIZE};
        struct qcow2_backing_change change;

        if (qcow2_backing_change(bytes, size, wanted_name(backing), wanted_format(backing), &change,
                                 err) < 0)
                return wla_wrap(err, "the instance's disk");
        if (write_range(fd, bytes, change.name, err) < 0 || write_range(fd, bytes, head, err) < 0)
                return -1;
        return write_range(fd, bytes, change.old, err);
}

int nova_disk_rebase(int fd, const struct nova_disk_backing *backing, bool *ret_changed,
                     struct wla_error *err) {
        _cleanup_free_ uint8_t *bytes = malloc(QCOW2_BACKING_SPAN);
        bool wanted = false;
        size_t size = 0;

        if (!bytes)
                return wla_fail_errno(err, ENOMEM, "reading the instance's disk");
        if (look(fd, backing, bytes, &size, &wanted, err) < 0)
                return -1;
        if (!wanted && (lock(fd, err) < 0 || look(fd, backing, bytes, &size, &wanted, err) < 0))
                return -1;
        if (!wanted && change(fd, backing, bytes, size, err) < 0)
                return -1;
        *ret_changed = !wanted;
        return 0;
}
