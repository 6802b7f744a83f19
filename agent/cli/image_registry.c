/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image_registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/state_directory.h"

#define SUFFIX         ".header"
#define MARKER         ".wls"
#define FILE_NAME_SIZE (UUID_TEXT_SIZE + sizeof(SUFFIX))
#define FILE_MODE      0644 /* wlagentd and the hook read it, and it holds nothing secret */
#define IMAGES_MAX     65536u

static const char hint_root[] = "run wlagent as root";

static void file_name_of(const struct uuid *image, char to[static FILE_NAME_SIZE]) {
        (void)snprintf(to, FILE_NAME_SIZE, "%s" SUFFIX, image->text);
}

int image_registry_open(const char *state_directory, bool create, struct image_registry *ret,
                        struct wla_error *err) {
        char path[4096];
        int fd = -1;

        if (create && state_directory_make_images(state_directory, err) < 0)
                return -1;

        int length = snprintf(path, sizeof(path), "%s/" IMAGES_DIRECTORY, state_directory);
        if (length < 0 || (size_t)length >= sizeof(path))
                return wla_fail(err, WLA_E_INPUT, "the path of the state directory is too long");

        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && (errno != ENOENT || create)) {
                int saved = errno;

                (void)wla_fail_errno(err, saved, "cannot open %s", path);
                err->hint = saved == EACCES ? hint_root : NULL;
                return -1;
        }
        ret->fd = fd;
        return 0;
}

void image_registry_close(struct image_registry *registry) {
        file_closep(&registry->fd);
}

static void marker_name_of(const struct uuid *image, char to[static FILE_NAME_SIZE]) {
        (void)snprintf(to, FILE_NAME_SIZE, "%s" MARKER, image->text);
}

static int add_header(const struct image_registry *registry, const struct uuid *image,
                      const struct image_registration *registration, struct wla_error *err) {
        const struct buf *header = registration->header;
        char name[FILE_NAME_SIZE];

        file_name_of(image, name);
        if (file_write(registry->fd, name, header->data, header->size, FILE_MODE,
                       registration->replace, err) == 0)
                return 0;
        if (err->code == WLA_E_INPUT)
                return wla_fail_hint(err, WLA_E_INPUT, "--force replaces it",
                                     "image %s is registered already", image->text);
        return wla_wrap(err, "registering image %s", image->text);
}

static int remove_file(const struct image_registry *registry, const char *name,
                       struct wla_error *err) {
        if (unlinkat(registry->fd, name, 0) == 0 || errno == ENOENT)
                return 0;
        int saved = errno;
        (void)wla_fail_errno(err, saved, "cannot remove %s", name);
        err->hint = saved == EACCES || saved == EPERM ? hint_root : NULL;
        return -1;
}

static bool is_registered(const struct image_registry *registry, const struct uuid *image) {
        char name[FILE_NAME_SIZE];

        file_name_of(image, name);
        return faccessat(registry->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The marker is first to come and last to go.  One that is there without a header means nothing. */
int image_registry_add(const struct image_registry *registry, const struct uuid *image,
                       const struct image_registration *registration, struct wla_error *err) {
        char marker[FILE_NAME_SIZE];
        int outcome = 0;

        marker_name_of(image, marker);
        if (registration->wls && (registration->replace || !is_registered(registry, image)))
                outcome = file_write(registry->fd, marker, "", 0, FILE_MODE, /* replace= */ true,
                                     err);
        if (outcome < 0)
                return wla_wrap(err, "registering image %s", image->text);
        if (add_header(registry, image, registration, err) < 0)
                return -1;
        return registration->wls ? 0 : remove_file(registry, marker, err);
}

bool image_registry_uses_wls(const struct image_registry *registry, const struct uuid *image) {
        char marker[FILE_NAME_SIZE];

        marker_name_of(image, marker);
        return registry->fd >= 0 && faccessat(registry->fd, marker, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int fail_unknown(const struct uuid *image, struct wla_error *err) {
        return wla_fail_hint(err, WLA_E_NOT_FOUND, "'wlagent image list' shows those that are",
                             "image %s is not registered", image->text);
}

int image_registry_remove(const struct image_registry *registry, const struct uuid *image,
                          struct wla_error *err) {
        char name[FILE_NAME_SIZE];
        char marker[FILE_NAME_SIZE];

        file_name_of(image, name);
        marker_name_of(image, marker);
        if (registry->fd < 0 || (unlinkat(registry->fd, name, 0) < 0 && errno == ENOENT))
                return fail_unknown(image, err);
        if (faccessat(registry->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return wla_fail_hint(err, WLA_E_SYSTEM, hint_root, "cannot remove image %s",
                                     image->text);
        if (remove_file(registry, marker, err) < 0)
                return -1;
        if (fsync(registry->fd) < 0)
                return wla_fail_errno(err, errno, "writing the registry to the disk");
        return 0;
}

int image_registry_read(const struct image_registry *registry, const struct uuid *image,
                        struct buf *header, struct wla_error *err) {
        char name[FILE_NAME_SIZE];

        if (registry->fd < 0)
                return fail_unknown(image, err);
        file_name_of(image, name);
        return file_read(registry->fd, name, header, err);
}

/* false: it is no name of a header. */
static bool read_name(const char *file_name, struct uuid *ret) {
        struct wla_error ignored = {0};
        char canonical[FILE_NAME_SIZE];
        size_t length = strlen(file_name);

        if (length != UUID_TEXT_SIZE - 1 + strlen(SUFFIX) ||
            uuid_parse(file_name, UUID_TEXT_SIZE - 1, ret, &ignored) < 0)
                return false;
        file_name_of(ret, canonical);
        return strcmp(canonical, file_name) == 0;
}

static int append(struct image_names *names, size_t *allocated, const struct uuid *name,
                  struct wla_error *err) {
        if (names->count == *allocated) {
                size_t wanted = *allocated > 0 ? *allocated * 2 : 16;
                struct uuid *larger = NULL;

                if (wanted <= IMAGES_MAX)
                        larger = realloc(names->names, wanted * sizeof(*larger));
                if (!larger)
                        return wla_fail(err, WLA_E_BUSY, "no memory for more than %zu images",
                                        names->count);
                names->names = larger;
                *allocated = wanted;
        }
        names->names[names->count++] = *name;
        return 0;
}

static int compare(const void *a, const void *b) {
        const struct uuid *left = a;
        const struct uuid *right = b;

        return strcmp(left->text, right->text);
}

static int collect(DIR *directory, struct image_names *names, struct wla_error *err) {
        size_t allocated = 0;

        for (;;) {
                struct uuid name;

                errno = 0;
                const struct dirent *entry = readdir(directory);
                if (!entry && errno != 0)
                        return wla_fail_errno(err, errno, "reading the registry");
                if (!entry)
                        return 0;
                if (read_name(entry->d_name, &name) && append(names, &allocated, &name, err) < 0)
                        return -1;
        }
}

int image_registry_list(const struct image_registry *registry, struct image_names *ret,
                        struct wla_error *err) {
        struct image_names names = {0};

        *ret = names;
        if (registry->fd < 0)
                return 0;

        /* Opened anew: a duplicate would share its position in the directory. */
        int fd = openat(registry->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *directory = fd < 0 ? NULL : fdopendir(fd);
        if (!directory) {
                int saved = errno;

                file_closep(&fd);
                return wla_fail_errno(err, saved, "reading the registry");
        }

        int outcome = collect(directory, &names, err);
        (void)closedir(directory);
        if (outcome < 0) {
                free(names.names);
                return -1;
        }
        if (names.count > 0)
                qsort(names.names, names.count, sizeof(*names.names), compare);
        *ret = names;
        return 0;
}
