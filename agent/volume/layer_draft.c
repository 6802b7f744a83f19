/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "volume/layer_directory.h"
#include "volume/layer_store.h"

#define FILE_MODE (S_IRUSR | S_IWUSR)

/* What a former attempt left was never used by anybody: a layer in use has the name without suffix. */
static int make_directory(struct layer_store *store, const struct uuid *vm,
                          struct layer_draft *draft, struct wla_error *err) {
        char name[LAYER_NAME_SIZE];

        /* As long as somebody makes something in it, the VM's directory is not removed. */
        if (layer_store_lock(store, vm->text, "", true, err) < 0 ||
            layer_directory_make(store->fd, vm->text, &draft->vm_fd, err) < 0)
                return -1;
        layer_directory_name(draft->target, LAYER_OLD, name);
        if (layer_directory_remove(draft->vm_fd, name, err) < 0)
                return -1;
        layer_directory_name(draft->target, LAYER_NEW, name);
        if (layer_directory_remove(draft->vm_fd, name, err) < 0)
                return -1;
        return layer_directory_make(draft->vm_fd, name, &draft->fd, err);
}

static int make_disk(int fd, uint64_t size, int flags, const char *name, int *ret_fd,
                     struct wla_error *err) {
        _cleanup_close_ int disk_fd = openat(fd, name, O_RDWR | O_CLOEXEC | flags, FILE_MODE);

        if (disk_fd < 0)
                return wla_fail_errno(err, errno, "making the disk of a layer");
        if (ftruncate(disk_fd, (off_t)size) < 0)
                return wla_fail_errno(err, errno, "making the disk of a layer of %ju bytes",
                                      (uintmax_t)size);
        *ret_fd = TAKE_FD(disk_fd);
        return 0;
}

int layer_draft_new(struct layer_store *store, const struct uuid *vm, const char *target,
                    uint64_t size, bool ephemeral, struct layer_draft *ret, struct wla_error *err) {
        _cleanup_layer_draft_ struct layer_draft draft = LAYER_DRAFT_NONE;

        (void)snprintf(draft.target, sizeof(draft.target), "%s", target);
        if (ephemeral) {
                if (make_disk(store->fd, size, O_TMPFILE | O_EXCL, ".", &draft.disk_fd, err) < 0)
                        return -1;
        } else if (make_directory(store, vm, &draft, err) < 0 ||
                   make_disk(draft.fd, size, O_CREAT | O_EXCL | O_NOFOLLOW, LAYER_DISK,
                             &draft.disk_fd, err) < 0) {
                return -1;
        }

        *ret = draft;
        draft = LAYER_DRAFT_NONE;
        return 0;
}

static int write_header(int fd, const uint8_t *bytes, size_t size, struct wla_error *err) {
        _cleanup_close_ int file_fd = openat(
                fd, LAYER_HEADER, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);

        if (file_fd < 0)
                return wla_fail_errno(err, errno, "making the header of a layer");
        while (size > 0) {
                ssize_t written = write(file_fd, bytes, size);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return wla_fail_errno(err, errno, "writing the header of a layer");
                bytes += written;
                size -= (size_t)written;
        }
        if (fsync(file_fd) < 0)
                return wla_fail_errno(err, errno, "making the header of a layer durable");
        return 0;
}

/* Everything is on the disk before the name is, and the name before anybody writes to the layer. */
int layer_draft_keep(struct layer_draft *draft, int disk_fd, const void *header, size_t size,
                     struct wla_error *err) {
        char name[LAYER_NAME_SIZE];

        layer_directory_name(draft->target, LAYER_NEW, name);
        if (fsync(disk_fd) < 0)
                return wla_fail_errno(err, errno, "making the disk of a layer durable");
        if (write_header(draft->fd, header, size, err) < 0)
                return -1;
        if (fsync(draft->fd) < 0)
                return wla_fail_errno(err, errno, "making the directory of a layer durable");
        if (renameat2(draft->vm_fd, name, draft->vm_fd, draft->target, RENAME_NOREPLACE) < 0)
                return wla_fail_errno(err, errno, "giving the layer its name");
        draft->kept = true;
        if (fsync(draft->vm_fd) < 0)
                return wla_fail_errno(err, errno, "making the layer durable");
        return 0;
}

void layer_draft_close(struct layer_draft *draft) {
        struct wla_error ignored = {0};
        char name[LAYER_NAME_SIZE];

        if (draft->vm_fd >= 0 && !draft->kept) {
                layer_directory_name(draft->target, LAYER_NEW, name);
                if (layer_directory_remove(draft->vm_fd, name, &ignored) < 0)
                        log_line(LOG_WARNING, "a layer that was not finished stays: %s",
                                 wla_error_text(&ignored));
        }
        file_closep(&draft->disk_fd);
        file_closep(&draft->fd);
        file_closep(&draft->vm_fd);
        *draft = LAYER_DRAFT_NONE;
}
