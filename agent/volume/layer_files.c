/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "volume/layer_directory.h"
#include "volume/layer_store.h"

#define ALLOCATED_UNIT 512u /* of st_blocks; stat(3type) */

static int fail_missing(int errno_value, const char *what, struct wla_error *err) {
        if (errno_value == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no such layer");
        return wla_fail_errno(err, errno_value, "opening %s of a layer", what);
}

static int open_regular(int fd, const char *name, int flags, int *ret_fd, struct stat *ret_status,
                        struct wla_error *err) {
        _cleanup_close_ int file_fd = openat(
                fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);

        if (file_fd < 0 || fstat(file_fd, ret_status) < 0)
                return wla_fail_errno(err, errno, "opening the %s of a layer", name);
        if (!S_ISREG(ret_status->st_mode))
                return wla_fail(err, WLA_E_INPUT, "the %s of a layer is not a regular file", name);

        *ret_fd = TAKE_FD(file_fd);
        return 0;
}

static int open_files(int fd, struct layer_files *ret, struct wla_error *err) {
        _cleanup_close_ int header_fd = -1;
        _cleanup_close_ int disk_fd = -1;
        struct stat status;

        if (open_regular(fd, LAYER_HEADER, O_RDONLY, &header_fd, &status, err) < 0 ||
            open_regular(fd, LAYER_DISK, O_RDWR, &disk_fd, &status, err) < 0)
                return -1;

        *ret = (struct layer_files){
                .disk_fd = TAKE_FD(disk_fd),
                .header_fd = TAKE_FD(header_fd),
                .device = status.st_dev,
                .inode = status.st_ino,
                .size = (uint64_t)status.st_size,
                .allocated = (uint64_t)status.st_blocks * ALLOCATED_UNIT,
        };
        return 0;
}

int layer_files_open(const struct layer_store *store, const struct uuid *vm, const char *target,
                     struct layer_files *ret, struct wla_error *err) {
        _cleanup_close_ int vm_fd = -1;
        _cleanup_close_ int fd = -1;

        if (layer_directory_open(store->fd, vm->text, &vm_fd) < 0)
                return fail_missing(errno, "the directory", err);
        if (layer_directory_open(vm_fd, target, &fd) < 0)
                return fail_missing(errno, "the directory", err);
        return open_files(fd, ret, err);
}

void layer_files_lengthen(int disk_fd, uint64_t wanted, uint64_t *size) {
        if (*size >= wanted)
                return;
        if (ftruncate(disk_fd, (off_t)wanted) < 0) {
                log_line(LOG_WARNING,
                         "a layer stays at %ju bytes, though %ju would be better: %s; see "
                         "FILES in wlagent-volumed(8)",
                         (uintmax_t)*size, (uintmax_t)wanted, strerrordesc_np(errno));
                return;
        }
        *size = wanted;
}

int layer_files_lengthen_durably(int disk_fd, uint64_t wanted, uint64_t *size,
                                 struct wla_error *err) {
        uint64_t longer = *size;

        layer_files_lengthen(disk_fd, wanted, &longer);
        if (longer != *size && fsync(disk_fd) < 0)
                return wla_fail_errno(err, errno, "making the length of a layer durable");
        *size = longer;
        return 0;
}

void layer_files_close(struct layer_files *files) {
        file_closep(&files->disk_fd);
        file_closep(&files->header_fd);
        *files = LAYER_FILES_NONE;
}

int layer_files_remove(struct layer_store *store, const struct uuid *vm, const char *target,
                       struct wla_error *err) {
        _cleanup_close_ int vm_fd = -1;
        char old[LAYER_NAME_SIZE];

        if (layer_directory_open(store->fd, vm->text, &vm_fd) < 0)
                return fail_missing(errno, "the directory", err);
        layer_directory_name(target, LAYER_OLD, old);
        if (layer_directory_remove(vm_fd, old, err) < 0)
                return -1;
        if (renameat(vm_fd, target, vm_fd, old) < 0)
                return fail_missing(errno, "the directory", err);
        if (fsync(vm_fd) < 0)
                return wla_fail_errno(err, errno, "making the removal of a layer durable");
        if (layer_directory_remove(vm_fd, old, err) < 0)
                return -1;
        layer_directory_remove_empty(store, vm);
        return 0;
}
