/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/layer_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define LOCK_FILE "lock"

static const char hint_closed[] =
        "it belongs to root, with mode 0700: 'chown root' and 'chmod 0700' it";
static const char hint_locked[] =
        "another start of this VM is under way; try again when it is over";

/* Whoever may write there could put a disk of his choice under a VM. */
static int check_owner(int fd, const char *path, struct wla_error *err) {
        struct stat status;

        if (fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at %s", path);
        if (status.st_uid != geteuid() || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_closed,
                                     "%s is open to others than root", path);
        return 0;
}

int layer_store_open(const char *path, struct layer_store *ret, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (file_open_directory(path, true, S_IRWXU, &fd, err) < 0 ||
            check_owner(fd, path, err) < 0)
                return -1;

        layer_store_close(ret);
        ret->fd = TAKE_FD(fd);
        return 0;
}

/* FNV-1a, 64 bits.  Two disks with the same number would only wait for each other. */
static off_t number_of(const char *first, const char *second) {
        const char *const texts[] = {first, "/", second};
        uint64_t number = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                for (const char *at = texts[i]; *at; at++)
                        number = (number ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
        return (off_t)(number >> 2);
}

static struct flock lock_of(const char *first, const char *second, short type) {
        return (struct flock){
                .l_type = type,
                .l_whence = SEEK_SET,
                .l_start = number_of(first, second),
                .l_len = 1,
        };
}

static int lock_with(struct layer_store *store, int command, const struct flock *lock,
                     struct wla_error *err) {
        if (store->lock_fd < 0)
                store->lock_fd = openat(store->fd, LOCK_FILE,
                                        O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY,
                                        S_IRUSR | S_IWUSR);
        if (store->lock_fd < 0)
                return wla_fail_errno(err, errno, "opening the locks of the layers");
        if (fcntl(store->lock_fd, command, lock) == 0)
                return 0;
        if (errno == EAGAIN || errno == EACCES)
                return wla_fail_hint(err, WLA_E_BUSY, hint_locked,
                                     "another session works on this disk");
        return wla_fail_errno(err, errno, "locking the disk");
}

int layer_store_lock(struct layer_store *store, const char *first, const char *second, bool shared,
                     struct wla_error *err) {
        const struct flock lock = lock_of(first, second, shared ? F_RDLCK : F_WRLCK);

        return lock_with(store, F_OFD_SETLK, &lock, err);
}

int layer_store_wait_lock(struct layer_store *store, const char *first, const char *second,
                          struct wla_error *err) {
        const struct flock lock = lock_of(first, second, F_WRLCK);

        return lock_with(store, F_OFD_SETLKW, &lock, err);
}

void layer_store_unlock(struct layer_store *store, const char *first, const char *second) {
        const struct flock lock = lock_of(first, second, F_UNLCK);

        (void)fcntl(store->lock_fd, F_OFD_SETLK, &lock);
}

void layer_store_close(struct layer_store *store) {
        file_closep(&store->fd);
        file_closep(&store->lock_fd);
        *store = LAYER_STORE_NONE;
}
