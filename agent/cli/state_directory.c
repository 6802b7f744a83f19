/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/state_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "source/key_store.h"

#define STATE_MODE  (S_IRWXU | S_IRGRP | S_IXGRP)
#define KEYS_MODE   S_IRWXU
#define IMAGES_MODE (S_IRWXU | S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH)

bool state_directory_daemon_ids(uid_t *ret_uid, gid_t *ret_gid) {
        const struct passwd *user = getpwnam(DAEMON_USER);

        if (!user)
                return false;

        *ret_uid = user->pw_uid;
        *ret_gid = user->pw_gid;
        return true;
}

static int fail(int errno_value, const char *doing, const char *path, struct wla_error *err) {
        (void)wla_fail_errno(err, errno_value, "%s the directory %s", doing, path);
        if (errno_value == EACCES)
                err->hint = "run wlagent as root, or as the user of wlagentd";
        return -1;
}

/* Owner and mode go to what was opened, not to a path that another may have replaced. */
static int make_one(int parent, const char *path, mode_t mode, int *ret_fd, struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        uid_t uid;
        gid_t gid;

        bool made = mkdirat(parent, path, mode) == 0;
        if (!made && errno != EEXIST)
                return fail(errno, "making", path, err);

        fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return fail(errno, "opening", path, err);

        if (made && fchmod(fd, mode) < 0)
                return wla_fail_errno(err, errno, "setting the mode of %s", path);

        if (made && geteuid() == 0 && state_directory_daemon_ids(&uid, &gid) &&
            fchown(fd, uid, gid) < 0)
                return wla_fail_errno(err, errno, "giving %s to user " DAEMON_USER, path);

        *ret_fd = TAKE_FD(fd);
        return 0;
}

int state_directory_make(const char *path, struct wla_error *err) {
        _cleanup_close_ int state = -1;
        _cleanup_close_ int keys = -1;

        if (make_one(AT_FDCWD, path, STATE_MODE, &state, err) < 0)
                return -1;

        if (make_one(state, KEY_STORE_DIRECTORY, KEYS_MODE, &keys, err) < 0)
                return wla_wrap(err, "state directory %s", path);
        return 0;
}

int state_directory_make_images(const char *path, struct wla_error *err) {
        _cleanup_close_ int state = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int images = -1;

        if (state < 0 && errno == ENOENT)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, "run 'wlagent setup' first",
                                     "there is no state directory %s", path);
        if (state < 0)
                return fail(errno, "opening", path, err);
        if (make_one(state, IMAGES_DIRECTORY, IMAGES_MODE, &images, err) < 0)
                return wla_wrap(err, "state directory %s", path);
        return 0;
}
