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

/* The name of a directory of a VM. */
static bool is_vm(const char *name, struct uuid *ret) {
        struct wla_error ignored = {0};

        return uuid_parse(name, strlen(name), ret, &ignored) == 0 && strcmp(ret->text, name) == 0;
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
                struct uuid vm;

                if (is_vm(entry->d_name, &vm) && list_disks(store, &vm, each, userdata, err) < 0)
                        return -1;
        }
        return 0;
}

/* Whether the name is that of a disk with one of the suffixes; then ret is the disk's. */
static bool is_cut_off(const char *name, char ret[DISK_TARGET_SIZE]) {
        size_t length = strcspn(name, ".");

        if ((strcmp(name + length, LAYER_NEW) != 0 && strcmp(name + length, LAYER_OLD) != 0) ||
            !disk_target_valid(name, length))
                return false;
        memcpy(ret, name, length);
        ret[length] = '\0';
        return true;
}

static int tidy_vm(struct layer_store *store, const struct uuid *vm, struct wla_error *err) {
        __attribute__((cleanup(directory_close))) DIR *directory = NULL;

        if (open_list(store->fd, vm->text, &directory, err) < 0)
                return -1;

        for (struct dirent *entry = directory ? readdir(directory) : NULL; entry;
             entry = readdir(directory)) {
                struct wla_error ignored = {0};
                char target[DISK_TARGET_SIZE];

                if (!is_cut_off(entry->d_name, target) ||
                    layer_store_lock(store, vm->text, target, false, &ignored) < 0)
                        continue;
                int outcome = layer_directory_remove(dirfd(directory), entry->d_name, err);
                layer_store_unlock(store, vm->text, target);
                if (outcome < 0)
                        return -1;
        }
        layer_directory_remove_empty(store, vm);
        return 0;
}

int layer_store_tidy(struct layer_store *store, struct wla_error *err) {
        __attribute__((cleanup(directory_close))) DIR *directory = NULL;

        if (open_list(store->fd, ".", &directory, err) < 0)
                return -1;

        for (struct dirent *entry = directory ? readdir(directory) : NULL; entry;
             entry = readdir(directory)) {
                struct uuid vm;

                if (is_vm(entry->d_name, &vm) && tidy_vm(store, &vm, err) < 0)
                        return -1;
        }
        return 0;
}
