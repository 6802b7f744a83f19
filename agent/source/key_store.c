/* SPDX-License-Identifier: Apache-2.0 */
#include "source/key_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define SUFFIX         ".json"
#define FILE_NAME_SIZE (KEY_NAME_MAX + sizeof(SUFFIX))

static const char hint_setup[] = "run 'wlagent setup' first";
static const char hint_directory[] = "give it to the user of wlagentd, with mode 0700";
static const char hint_denied[] = "run wlagent as root; wlagentd needs to own the directory";
static const char hint_file[] = "give it to the owner of its directory, with mode 0600";
static const char hint_missing[] = "make one with 'wlagent key create NAME', or fetch one with "
                                   "'wlagent key import FILE'; 'wlagent key list' shows what is "
                                   "there";
static const char hint_exists[] =
        "choose another name, or remove it first with 'wlagent key remove'; "
        "images encrypted with it cannot be opened after that";

static const char hint_unchanged[] =
        "nothing was changed; see whether the disk is full or read-only";

static void file_name_of(const char *name, char to[static FILE_NAME_SIZE]) {
        size_t length = strlen(name);

        /* Names come typed; this is the last line between a name and a path. */
        assert(key_name_valid(name, length));
        memcpy(to, name, length);
        memcpy(to + length, SUFFIX, sizeof(SUFFIX));
}

static int check_directory(const struct key_store *store, const struct stat *facts,
                           struct wla_error *err) {
        uid_t caller = geteuid();

        if (caller != 0 && facts->st_uid != 0 && facts->st_uid != caller)
                return wla_fail_hint(err, WLA_E_DENIED, hint_directory,
                                     "%s belongs to user %u, neither to root nor to user %u",
                                     store->directory, facts->st_uid, caller);

        if (facts->st_mode & (S_IWGRP | S_IWOTH))
                return wla_fail_hint(err, WLA_E_DENIED, hint_directory,
                                     "%s may be written by others (mode %04o)", store->directory,
                                     facts->st_mode & 07777);
        return 0;
}

int key_store_open(const char *state_directory, struct key_store *ret, struct wla_error *err) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct stat facts;

        int length = snprintf(store.directory, sizeof(store.directory), "%s/" KEY_STORE_DIRECTORY,
                              state_directory);
        if (length < 0 || (size_t)length >= sizeof(store.directory))
                return wla_fail(err, WLA_E_INPUT, "the path of the state directory is too long");

        store.fd = open(store.directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (store.fd < 0 && errno == ENOENT)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_setup, "there is no key store %s",
                                     store.directory);
        if (store.fd < 0 || fstat(store.fd, &facts) < 0) {
                bool denied = errno == EACCES;

                (void)wla_fail_errno(err, errno, "opening the key store %s", store.directory);
                err->hint = denied ? hint_denied : hint_directory;
                return -1;
        }

        if (check_directory(&store, &facts, err) < 0)
                return -1;

        store.owner = facts.st_uid;
        *ret = store;
        store.fd = -1;
        return 0;
}

void key_store_close(struct key_store *store) {
        file_closep(&store->fd);
}

static int check_file(const struct key_store *store, const struct stat *facts,
                      struct wla_error *err) {
        if (!S_ISREG(facts->st_mode))
                return wla_fail_hint(err, WLA_E_DENIED, hint_file, "not a regular file");

        if (facts->st_uid != 0 && facts->st_uid != geteuid() && facts->st_uid != store->owner)
                return wla_fail_hint(err, WLA_E_DENIED, hint_file,
                                     "belongs to user %u, who does not own the key store",
                                     facts->st_uid);

        if (facts->st_mode & (S_IRWXG | S_IRWXO))
                return wla_fail_hint(err, WLA_E_DENIED, hint_file,
                                     "open to other users (mode %04o)", facts->st_mode & 07777);
        return 0;
}

static int read_all(int fd, struct buf *content, struct wla_error *err) {
        for (;;) {
                uint8_t block[1024];
                ssize_t size = read(fd, block, sizeof(block));

                if (size == 0)
                        return 0;
                if (size < 0 && errno == EINTR)
                        continue;
                if (size < 0)
                        return wla_fail_errno(err, errno, "reading it");
                if (content->size + (size_t)size > KEY_FILE_SIZE_MAX)
                        /* key_file_parse() has the words for it */
                        size = (ssize_t)(KEY_FILE_SIZE_MAX + 1 - content->size);
                if (buf_append(content, block, (size_t)size, err) < 0)
                        return -1;
                if (content->size > KEY_FILE_SIZE_MAX)
                        return 0;
        }
}

static int read_content(const struct key_store *store, int fd, struct buf *content,
                        struct wla_error *err) {
        struct stat facts;

        if (fstat(fd, &facts) < 0)
                return wla_fail_errno(err, errno, "looking at it");

        if (check_file(store, &facts, err) < 0)
                return -1;

        return read_all(fd, content, err);
}

static int fail_open(const struct key_store *store, const char *name, int errno_value,
                     struct wla_error *err) {
        if (errno_value == ENOENT)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_missing, "no key named %s in %s",
                                     name, store->directory);
        if (errno_value == ELOOP)
                (void)wla_fail(err, WLA_E_DENIED, "a symbolic link is not followed");
        else
                (void)wla_fail_errno(err, errno_value, "opening it");

        err->hint = hint_file;
        return wla_wrap(err, "key file %s/%s" SUFFIX, store->directory, name);
}

int key_store_read(const struct key_store *store, const char *name, struct key_file *ret,
                   struct wla_error *err) {
        _cleanup_buf_ struct buf content = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX + 1);
        _cleanup_close_ int fd = -1;
        char file_name[FILE_NAME_SIZE];
        struct key_file file;

        file_name_of(name, file_name);
        fd = openat(store->fd, file_name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return fail_open(store, name, errno, err);

        if (read_content(store, fd, &content, err) < 0 ||
            key_file_parse((const char *)content.data, content.size, &file, err) < 0)
                return wla_wrap(err, "key file %s/%s", store->directory, file_name);

        if (strcmp(file.name, name) != 0) {
                (void)wla_fail_hint(err, WLA_E_INPUT,
                                    "a key file has the name of its key: rename it, or import it "
                                    "with 'wlagent key import --name NAME FILE'",
                                    "the key in it is named %s", file.name);
                return wla_wrap(err, "key file %s/%s", store->directory, file_name);
        }

        *ret = file;
        return 0;
}

int key_store_write(const struct key_store *store, const struct key_file *file, bool replace,
                    struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(KEY_FILE_SIZE_MAX);
        char file_name[FILE_NAME_SIZE];

        file_name_of(file->name, file_name);
        if (key_file_format(file, &text, err) < 0)
                return -1;

        if (file_write(store->fd, file_name, text.data, text.size, S_IRUSR | S_IWUSR, replace,
                       err) == 0)
                return 0;

        if (err->code == WLA_E_INPUT)
                return wla_fail_hint(err, WLA_E_INPUT, hint_exists,
                                     "there is a key named %s in %s already", file->name,
                                     store->directory);
        err->hint = hint_unchanged;
        return wla_wrap(err, "storing key %s in %s", file->name, store->directory);
}

int key_store_remove(const struct key_store *store, const char *name, struct wla_error *err) {
        char file_name[FILE_NAME_SIZE];

        file_name_of(name, file_name);
        if (unlinkat(store->fd, file_name, 0) < 0) {
                if (errno == ENOENT)
                        return fail_open(store, name, ENOENT, err);
                return wla_fail_errno(err, errno, "removing %s/%s", store->directory, file_name);
        }

        if (fsync(store->fd) < 0)
                return wla_fail_errno(err, errno, "writing %s to disk", store->directory);
        return 0;
}
