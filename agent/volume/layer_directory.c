/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/layer_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

void layer_directory_name(const char *target, const char *suffix, char ret[LAYER_NAME_SIZE]) {
        (void)snprintf(ret, LAYER_NAME_SIZE, "%s%s", target, suffix);
}

int layer_directory_open(int parent_fd, const char *name, int *ret_fd) {
        int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0)
                return -1;
        *ret_fd = fd;
        return 0;
}

int layer_directory_make(int parent_fd, const char *name, int *ret_fd, struct wla_error *err) {
        if (mkdirat(parent_fd, name, S_IRWXU) < 0 && errno != EEXIST)
                return wla_fail_errno(err, errno, "making the directory of a layer");
        if (fsync(parent_fd) < 0)
                return wla_fail_errno(err, errno, "making the directory of a layer durable");
        if (layer_directory_open(parent_fd, name, ret_fd) < 0)
                return wla_fail_errno(err, errno, "opening the directory of a layer");
        return 0;
}

static int remove_file(int fd, const char *name, struct wla_error *err) {
        if (unlinkat(fd, name, 0) < 0 && errno != ENOENT)
                return wla_fail_errno(err, errno, "removing the %s of a layer", name);
        return 0;
}

int layer_directory_remove(int parent_fd, const char *name, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (layer_directory_open(parent_fd, name, &fd) < 0) {
                if (errno == ENOENT)
                        return 0;
                return wla_fail_errno(err, errno, "opening the directory of a layer");
        }
        if (remove_file(fd, LAYER_HEADER, err) < 0 || remove_file(fd, LAYER_DISK, err) < 0)
                return -1;
        if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0)
                return wla_fail_errno(err, errno, "removing the directory of a layer");
        return 0;
}

void layer_directory_remove_empty(struct layer_store *store, const struct uuid *vm) {
        struct wla_error ignored = {0};

        if (layer_store_lock(store, vm->text, "", false, &ignored) < 0)
                return;
        (void)unlinkat(store->fd, vm->text, AT_REMOVEDIR);
        layer_store_unlock(store, vm->text, "");
}
