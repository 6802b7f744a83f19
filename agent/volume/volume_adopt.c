/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume_adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "image/volume_key.h"
#include "volume/ordinary_format.h"
#include "volume/ordinary_key.h"
#include "volume/recrypt.h"

#define ADOPTING_SUFFIX ".adopting"
#define SELINUX_LABEL   "security.selinux"
#define LABEL_MAX       512u
#define FD_PATH_SIZE    32u

static const char hint_leftover[] = "move it away; it is not what an interrupted run leaves";

/* The old volume, opened. */
struct exposed {
        struct wla_secret *volume_key;
        struct stat status; /* before anything was read */
        enum volume_adopted how;
};

static void name_fd(int fd, char to[static FD_PATH_SIZE]) {
        (void)snprintf(to, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

static int check_layout(const struct volume_adoption *adoption, const struct stat *status,
                        struct wla_error *err) {
        const struct luks2_header *header = adoption->header;

        if (header->kind != LUKS2_ORDINARY)
                return wla_fail(err, WLA_E_INPUT, "it is an image of wlagent already");
        if (header->data_offset == 0)
                return wla_fail(err, WLA_E_UNSUPPORTED, "its header is not in the file");
        if (status->st_size <= (off_t)header->data_offset ||
            ((uint64_t)status->st_size - header->data_offset) % header->sector_size != 0)
                return wla_fail(err, WLA_E_INPUT, "its data are no whole number of sectors");
        return 0;
}

static int open_exposed(const struct volume_adoption *adoption, struct exposed *ret,
                        struct wla_error *err) {
        enum ordinary_key_outcome outcome;
        struct wla_error ignored = {0};

        if (fstat(adoption->fd, &ret->status) < 0)
                return wla_fail_errno(err, errno, "looking at it");
        if (check_layout(adoption, &ret->status, err) < 0 ||
            ordinary_key_try(adoption->header_fd, adoption->header, NULL, &outcome,
                             &ret->volume_key, err) < 0)
                return -1;
        ret->how = VOLUME_ADOPTED;
        if (outcome == ORDINARY_KEY_OPENED)
                return 0;

        if (ordinary_key_try(adoption->header_fd, adoption->header, adoption->key, &outcome,
                             &ret->volume_key, err) < 0)
                return -1;
        if (outcome == ORDINARY_KEY_REFUSED)
                return wla_fail(err, WLA_E_DENIED,
                                "neither the empty passphrase nor the key opens it");
        ret->how = ordinary_key_check_cost(adoption->header, &ignored) == 0
                           ? VOLUME_ADOPTION_NEEDLESS
                           : VOLUME_ADOPTED_KEY;
        return 0;
}

/* Whether fd is a volume that the key opens, and nothing else does. */
static int opens_with_key_alone(const struct volume_adoption *adoption, int fd,
                                struct wla_secret **ret_volume_key, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *none = NULL;
        enum ordinary_key_outcome outcome;
        struct luks2_header header;

        if (ordinary_format_read(fd, &header, err) < 0 ||
            ordinary_key_check_cost(&header, err) < 0 ||
            ordinary_key_try(fd, &header, NULL, &outcome, &none, err) < 0)
                return -1;
        if (outcome == ORDINARY_KEY_OPENED)
                return wla_fail(err, WLA_E_DENIED, "it opens with the empty passphrase");
        if (ordinary_key_try(fd, &header, adoption->key, &outcome, ret_volume_key, err) < 0)
                return -1;
        if (outcome == ORDINARY_KEY_REFUSED)
                return wla_fail(err, WLA_E_DENIED, "the key does not open it");
        return 0;
}

static int name_adopting(const struct volume_adoption *adoption, char to[static NAME_MAX + 1],
                         struct wla_error *err) {
        int length = snprintf(to, NAME_MAX + 1, "%s" ADOPTING_SUFFIX, adoption->name);

        if (length < 0 || length > NAME_MAX)
                return wla_fail(err, WLA_E_INPUT, "its name is too long");
        return 0;
}

/* What an earlier run has left, if it is that. */
static int remove_leftover(const struct volume_adoption *adoption, const char *name,
                           struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        _cleanup_close_ int fd = openat(adoption->directory_fd, name,
                                        O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        struct stat status;

        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0 || fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "opening what has the name of its successor");
        if (!S_ISREG(status.st_mode) || opens_with_key_alone(adoption, fd, &volume_key, err) < 0)
                return wla_fail_hint(err, WLA_E_INPUT, hint_leftover,
                                     "a file with the name of its successor is in the way");
        if (unlinkat(adoption->directory_fd, name, 0) < 0)
                return wla_fail_errno(err, errno, "removing what an earlier run has left");
        return 0;
}

static int copy_label(int from, int to, struct wla_error *err) {
        char label[LABEL_MAX];
        ssize_t size = fgetxattr(from, SELINUX_LABEL, label, sizeof(label));

        if (size < 0)
                return 0;
        if (fsetxattr(to, SELINUX_LABEL, label, (size_t)size, 0) < 0)
                return wla_fail_errno(err, errno, "giving the new volume the old one's label");
        return 0;
}

/* The owner comes last: only he may change the rest. */
static int take_over_owner(int from, int to, const struct stat *status, struct wla_error *err) {
        struct stat own;

        if (fstat(to, &own) < 0)
                return wla_fail_errno(err, errno, "looking at the new volume");
        if (fchmod(to, status->st_mode & 0777) < 0)
                return wla_fail_errno(err, errno, "giving the new volume the old one's mode");
        if (copy_label(from, to, err) < 0)
                return -1;
        if ((own.st_uid != status->st_uid || own.st_gid != status->st_gid) &&
            fchown(to, status->st_uid, status->st_gid) < 0)
                return wla_fail_errno(err, errno, "giving the new volume the old one's owner");
        return 0;
}

static int make_file(const struct volume_adoption *adoption, const struct stat *status, int *ret_fd,
                     struct wla_error *err) {
        _cleanup_close_ int fd = openat(adoption->directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC,
                                        0600);

        if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
                return wla_fail_hint(err, WLA_E_UNSUPPORTED,
                                     "copy it to a local file system for this",
                                     "the file system cannot make files without names");
        if (fd < 0)
                return wla_fail_errno(err, errno, "making the new volume");
        if (ftruncate(fd, status->st_size) < 0)
                return wla_fail_errno(err, errno, "making a volume of that size");
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* What was written can be read by whoever has the key, before anything depends on it. */
static int prove(const struct volume_adoption *adoption, int fd,
                 const struct wla_secret *volume_key, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *opened = NULL;

        if (opens_with_key_alone(adoption, fd, &opened, err) < 0)
                return wla_wrap(err, "the new volume");

        struct wla_bytes expected = wla_secret_view(volume_key);
        struct wla_bytes found = wla_secret_view(opened);
        if (found.size != expected.size ||
            CRYPTO_memcmp(found.data, expected.data, expected.size) != 0)
                return wla_fail(err, WLA_E_SYSTEM,
                                "the new volume has another key than it was given");
        return 0;
}

static int encrypt_again(const struct volume_adoption *adoption, const struct exposed *exposed,
                         int fd, struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        struct recrypt_plan plan = {
                .from_fd = adoption->fd,
                .to_fd = fd,
                .from_key = exposed->volume_key,
                .sector_size = adoption->header->sector_size,
                .offset = adoption->header->data_offset,
                .size = (uint64_t)exposed->status.st_size - adoption->header->data_offset,
        };

        if (volume_key_generate(&volume_key, err) < 0 ||
            ordinary_format(fd, adoption->header, volume_key, adoption->key, err) < 0)
                return -1;
        plan.to_key = volume_key;
        if (recrypt(&plan, err) < 0)
                return -1;
        if (fsync(fd) < 0)
                return wla_fail_errno(err, errno, "writing the new volume");
        return prove(adoption, fd, volume_key, err);
}

static int check_unchanged(const struct volume_adoption *adoption, const struct stat *before,
                           struct wla_error *err) {
        struct stat now;
        struct stat named;

        if (fstat(adoption->fd, &now) < 0 ||
            fstatat(adoption->directory_fd, adoption->name, &named, AT_SYMLINK_NOFOLLOW) < 0)
                return wla_fail_errno(err, errno, "looking at it again");
        if (named.st_dev != now.st_dev || named.st_ino != now.st_ino)
                return wla_fail(err, WLA_E_BUSY, "another file has taken its place meanwhile");
        if (now.st_size != before->st_size || now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != before->st_mtim.tv_nsec)
                return wla_fail(err, WLA_E_BUSY, "it was written to meanwhile; close it first");
        return 0;
}

static int put_in_place(const struct volume_adoption *adoption, const struct stat *before, int fd,
                        const char *name, struct wla_error *err) {
        char path[FD_PATH_SIZE];

        name_fd(fd, path);
        if (linkat(AT_FDCWD, path, adoption->directory_fd, name, AT_SYMLINK_FOLLOW) < 0)
                return wla_fail_errno(err, errno, "naming the new volume");

        int outcome = check_unchanged(adoption, before, err);
        if (outcome == 0 &&
            (renameat(adoption->directory_fd, name, adoption->directory_fd, adoption->name) < 0 ||
             fsync(adoption->directory_fd) < 0))
                outcome = wla_fail_errno(err, errno, "putting the new volume in its place");
        if (outcome < 0)
                (void)unlinkat(adoption->directory_fd, name, 0);
        return outcome;
}

static int adopt(const struct volume_adoption *adoption, const struct exposed *exposed,
                 struct wla_error *err) {
        _cleanup_close_ int fd = -1;
        char name[NAME_MAX + 1];

        if (name_adopting(adoption, name, err) < 0 || remove_leftover(adoption, name, err) < 0 ||
            make_file(adoption, &exposed->status, &fd, err) < 0 ||
            take_over_owner(adoption->fd, fd, &exposed->status, err) < 0 ||
            encrypt_again(adoption, exposed, fd, err) < 0)
                return -1;
        return put_in_place(adoption, &exposed->status, fd, name, err);
}

int volume_adopt(const struct volume_adoption *adoption, enum volume_adopted *ret,
                 struct wla_error *err) {
        struct exposed exposed = {0};

        int outcome = open_exposed(adoption, &exposed, err);
        if (outcome == 0 && exposed.how != VOLUME_ADOPTION_NEEDLESS)
                outcome = adopt(adoption, &exposed, err);
        exposed.volume_key = wla_secret_free(exposed.volume_key);
        if (outcome < 0)
                return wla_wrap(err, "adopting the volume");

        *ret = exposed.how;
        return 0;
}
