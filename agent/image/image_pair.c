/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/rename_free.h"

#define REPLACED_SUFFIX ".replaced"

static const char hint_replaced[] =
        "a replacement was interrupted: 'mv' the image and its header back to their names without "
        ".replaced, or remove what has that name when 'wlagent image verify' passes";

static int fail_replaced(const char *path, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_INPUT, hint_replaced, "%s" REPLACED_SUFFIX " is there",
                             path);
}

int image_pair_check(const char *path, struct wla_error *err) {
        _cleanup_free_ char *replaced = NULL;

        if (asprintf(&replaced, "%s" REPLACED_SUFFIX, path) < 0)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        return faccessat(AT_FDCWD, replaced, F_OK, AT_SYMLINK_NOFOLLOW) == 0
                       ? fail_replaced(path, err)
                       : 0;
}

static void name_replaced(const struct pending_file *file, char to[static NAME_MAX + 1]) {
        (void)snprintf(to, NAME_MAX + 1, "%s" REPLACED_SUFFIX, file->name);
}

/* Whether a run that was killed, or that is not done yet, has taken the old file. */
static bool is_replaced(const struct pending_file *file, const char *name) {
        return faccessat(file->directory_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Takes the old file, if there is one, out of the way. */
static int keep(const struct pending_file *file, bool *ret_kept, struct wla_error *err) {
        char name[NAME_MAX + 1];

        *ret_kept = false;
        if (strlen(file->name) + strlen(REPLACED_SUFFIX) > NAME_MAX)
                return wla_fail(err, WLA_E_INPUT, "the name of %s is too long", file->path);
        name_replaced(file, name);
        if (rename_free(file->directory_fd, file->name, name) < 0) {
                int error = errno;

                /* An old image that is there under its other name keeps its header. */
                if (error == EEXIST || (error == ENOENT && is_replaced(file, name)))
                        return fail_replaced(file->path, err);
                if (error == ENOENT)
                        return 0;
                return wla_fail_errno(err, error, "cannot keep the former %s", file->path);
        }
        *ret_kept = true;
        if (fsync(file->directory_fd) < 0)
                return wla_fail_errno(err, errno, "cannot keep the former %s", file->path);
        return 0;
}

static int fail_kept(const struct pending_file *file, int error, struct wla_error *err) {
        err->hint = hint_replaced;
        return wla_wrap(err, "the former %s stays %s" REPLACED_SUFFIX ", %s", file->path,
                        file->path,
                        error == EEXIST ? "because there is a new one"
                                        : "because it cannot be named again");
}

static int restore(const struct pending_file *file, bool kept, struct wla_error *err) {
        char name[NAME_MAX + 1];

        name_replaced(file, name);
        if (!kept || rename_free(file->directory_fd, name, file->name) == 0)
                return 0;
        return fail_kept(file, errno, err);
}

static void forget(const struct pending_file *file, bool kept) {
        char name[NAME_MAX + 1];

        name_replaced(file, name);
        if (kept)
                (void)unlinkat(file->directory_fd, name, 0);
}

static int publish_both(struct image_pair *pair, struct wla_error *err) {
        if (pending_file_publish(&pair->header, /* replace= */ false, err) < 0)
                return -1;
        if (pending_file_publish(&pair->image, /* replace= */ false, err) == 0)
                return 0;
        (void)unlinkat(pair->header.directory_fd, pair->header.name, 0);
        return -1;
}

/* The old header does not go beside the image of another run. */
static int restore_both(const struct image_pair *pair, bool kept_header, bool kept_image,
                        struct wla_error *err) {
        const struct pending_file *image = &pair->image;

        if (kept_image &&
            faccessat(image->directory_fd, image->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return fail_kept(image, EEXIST, err);
        return restore(&pair->header, kept_header, err) < 0 ? -1 : restore(image, kept_image, err);
}

/* The image goes first and comes last, and is not there without its header. */
static int replace_both(struct image_pair *pair, struct wla_error *err) {
        bool kept_header = false;
        bool kept_image = false;

        if (keep(&pair->image, &kept_image, err) < 0 ||
            keep(&pair->header, &kept_header, err) < 0 || publish_both(pair, err) < 0) {
                (void)restore_both(pair, kept_header, kept_image, err);
                return -1;
        }
        forget(&pair->image, kept_image);
        forget(&pair->header, kept_header);
        return 0;
}

static int sync_file(const struct pending_file *file, struct wla_error *err) {
        return fsync(file->fd) < 0 ? wla_fail_errno(err, errno, "cannot write %s", file->path) : 0;
}

/* What cannot be stored comes out before anything is taken out of its place. */
int image_pair_publish(struct image_pair *pair, bool replace, struct wla_error *err) {
        if (sync_file(&pair->image, err) < 0 || sync_file(&pair->header, err) < 0)
                return -1;
        return replace ? replace_both(pair, err) : publish_both(pair, err);
}
