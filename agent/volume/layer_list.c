/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "volume/layer_directory.h"
#include "volume/layer_store.h"

typedef int (*each_layer)(const struct uuid *vm, const char *target,
                          const struct layer_files *files, void *userdata, struct wla_error *err);

static void directory_close(DIR **directory) {
        if (*directory)
                (void)closedir(*directory);
}

static int open_list(int parent_fd, const char *name, DIR **ret, struct wla_error *err) {
        int fd = -1;

        if (layer_directory_open(parent_fd, name, &fd) < 0) {
                /* It has gone meanwhile, or it is none. */
                if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
                        return 0;
                return wla_fail_errno(err, errno, "listing the layers");
        }
        *ret = fdopendir(fd);
        if (!*ret) {
                int errno_value = errno;

                (void)close(fd);
                return wla_fail_errno(err, errno_value, "listing the layers");
        }
        return 0;
}

static int list_disks(const struct layer_store *store, const struct uuid *vm, each_layer each,
                      void *userdata, struct wla_error *err) {
        __attribute__((cleanup(directory_close))) DIR *directory = NULL;

        if (open_list(store->fd, vm->text, &directory, err) < 0)
                return -1;
        if (!directory)
                return 0;

        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
                _cleanup_layer_files_ struct layer_files files = LAYER_FILES_NONE;
                struct wla_error ignored = {0};

                /* One that cannot be opened is told when it is asked for. */
                if (!disk_target_valid(entry->d_name, strlen(entry->d_name)) ||
                    layer_files_open(store, vm, entry->d_name, &files, &ignored) < 0)
                        continue;
                if (each(vm, entry->d_name, &files, userdata, err) < 0)
                        return -1;
        }
        return 0;
}

int layer_store_each(const struct layer_store *store, each_layer each, void *userdata,
                     struct wla_error *err) {
        __attribute__((cleanup(directory_close))) DIR *directory = NULL;

        if (open_list(store->fd, ".", &directory, err) < 0)
                return -1;

        for (struct dirent *entry = directory ? readdir(directory) : NULL; entry;
             entry = readdir(directory)) {
                struct wla_error ignored = {0};
                struct uuid vm;

                if (uuid_parse(entry->d_name, strlen(entry->d_name), &vm, &ignored) < 0 ||
                    strcmp(vm.text, entry->d_name) != 0)
                        continue;
                if (list_disks(store, &vm, each, userdata, err) < 0)
                        return -1;
        }
        return 0;
}
