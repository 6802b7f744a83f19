/* SPDX-License-Identifier: Apache-2.0 */
#include "durable_names.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 64u

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __real_mkdirat(int fd, const char *name, mode_t mode);
int __wrap_mkdirat(int fd, const char *name, mode_t mode);
int __real_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags);
ssize_t __real_pwrite64(int fd, const void *data, size_t size, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t at);

/* A file or directory that was synced, or in which names are not on the disk yet. */
struct known {
        dev_t device;
        ino_t inode;
        bool synced;
        uint64_t content; /* when it was */
        ino_t named;      /* 0: none.  The file whose new name is not on the disk */
        bool removed;
};

static struct known files[FILES_MAX];
static size_t count;
static unsigned failing; /* the sync that fails, 0: none */
static unsigned syncs;
static unsigned names;

static bool has_failed(void) {
        return failing > 0 && syncs >= failing;
}

/* The FNV-1a hash. */
static uint64_t add(uint64_t hash, const void *data, size_t size) {
        const uint8_t *bytes = data;

        for (size_t i = 0; i < size; i++)
                hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
        return hash;
}

static uint64_t content_of_file(int fd) {
        static uint8_t piece[1 << 16];
        uint64_t hash = UINT64_C(0xcbf29ce484222325);
        off_t at = 0;
        ssize_t got;

        while ((got = pread(fd, piece, sizeof(piece), at)) > 0) {
                hash = add(hash, piece, (size_t)got);
                at += got;
        }
        ck_assert_int_eq(got, 0);
        return hash;
}

static bool is_entry(const struct dirent *entry) {
        return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static DIR *list(int fd) {
        DIR *directory = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

        ck_assert_ptr_nonnull(directory);
        return directory;
}

/* In whatever order it is listed. */
static uint64_t content_of_directory(int fd) {
        DIR *directory = list(fd);
        uint64_t sum = 0;

        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
                if (is_entry(entry))
                        sum += add(entry->d_ino, entry->d_name, strlen(entry->d_name));
        (void)closedir(directory);
        return sum;
}

/* *ret: of which file that is. */
static uint64_t content_of(int fd, struct stat *ret) {
        char path[32];

        /* It may be open for writing only. */
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int reader = open(path, O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(reader, 0);
        ck_assert_int_eq(fstat(reader, ret), 0);
        uint64_t content = S_ISDIR(ret->st_mode) ? content_of_directory(reader)
                                                 : content_of_file(reader);
        (void)close(reader);
        return content;
}

static struct known *find(const struct stat *status) {
        for (size_t i = 0; i < count; i++)
                if (files[i].device == status->st_dev && files[i].inode == status->st_ino)
                        return &files[i];
        ck_assert_uint_lt(count, FILES_MAX);
        files[count] = (struct known){.device = status->st_dev, .inode = status->st_ino};
        return &files[count++];
}

static struct known *find_directory(int fd) {
        struct stat status;

        ck_assert_int_eq(fstat(fd, &status), 0);
        return find(&status);
}

/* From now on it is on the disk, with the names in it. */
static void store(int fd) {
        struct stat status;
        uint64_t content = content_of(fd, &status);

        *find(&status) = (struct known){
                .device = status.st_dev,
                .inode = status.st_ino,
                .synced = true,
                .content = content,
        };
}

bool durable_names_stored(int fd) {
        struct stat status;
        uint64_t content = content_of(fd, &status);
        const struct known *file = find(&status);

        return file->synced && file->content == content;
}

static int open_named(int directory_fd, const char *name) {
        return openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static void for_each_entry(int fd, void (*each)(int fd, const char *name)) {
        DIR *directory = list(fd);

        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
                int entry_fd = is_entry(entry) ? open_named(fd, entry->d_name) : -1;

                if (entry_fd >= 0) {
                        each(entry_fd, entry->d_name);
                        (void)close(entry_fd);
                }
        }
        (void)closedir(directory);
}

static bool is_directory(int fd) {
        struct stat status;

        ck_assert_int_eq(fstat(fd, &status), 0);
        return S_ISDIR(status.st_mode);
}

static void store_all(int fd, const char *name) {
        (void)name;
        store(fd);
        if (is_directory(fd))
                for_each_entry(fd, store_all);
}

static void check_ready(int fd, const char *name) {
        ck_assert_msg(durable_names_stored(fd),
                      "%s gets its name before its content is on the disk", name);
        if (is_directory(fd))
                for_each_entry(fd, check_ready);
}

static bool is_temporary(const char *name) {
        static const char suffix[] = ".partial";
        size_t length = strlen(name);

        return strncmp(name, ".new-", 5) == 0 ||
               (length >= strlen(suffix) && strcmp(name + length - strlen(suffix), suffix) == 0);
}

static void note_name(int directory_fd, const char *name, ino_t inode) {
        struct known *directory = find_directory(directory_fd);

        ck_assert_msg(has_failed() || directory->named == 0 || directory->named == inode,
                      "%s gets its name before that of another file is on the disk", name);
        directory->named = inode;
        names++;
}

static int sync_with(int (*sync)(int fd), int fd) {
        if (++syncs == failing) {
                errno = EIO;
                return -1;
        }
        int outcome = sync(fd);
        if (outcome == 0)
                store(fd);
        return outcome;
}

int __wrap_fsync(int fd) {
        return sync_with(__real_fsync, fd);
}

int __wrap_fdatasync(int fd) {
        return sync_with(__real_fdatasync, fd);
}

/* outcome: of the call that gives the name to what is open in fd, which is closed. */
static int finish_name(int outcome, int fd, int directory_fd, const char *name) {
        int saved = errno;
        struct stat status;

        if (outcome == 0 && !is_temporary(name)) {
                check_ready(fd, name);
                ck_assert_int_eq(fstat(fd, &status), 0);
                note_name(directory_fd, name, status.st_ino);
        }
        if (fd >= 0)
                (void)close(fd);
        errno = saved;
        return outcome;
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
        int fd = open_named(from_fd, from);

        return finish_name(__real_linkat(from_fd, from, to_fd, to, flags), fd, to_fd, to);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to) {
        int fd = open_named(from_fd, from);

        return finish_name(__real_renameat(from_fd, from, to_fd, to), fd, to_fd, to);
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
        int fd = open_named(from_fd, from);

        return finish_name(__real_renameat2(from_fd, from, to_fd, to, flags), fd, to_fd, to);
}

int __wrap_mkdirat(int fd, const char *name, mode_t mode) {
        int outcome = __real_mkdirat(fd, name, mode);
        struct stat status;

        if (outcome == 0) {
                ck_assert_int_eq(fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW), 0);
                note_name(fd, name, status.st_ino);
        }
        return outcome;
}

static void check_may_be_removed(const struct known *directory, const char *name) {
        if (has_failed())
                return;
        ck_assert_msg(directory->named == 0,
                      "%s is removed before the name of another file is on the disk", name);
        for (size_t i = 0; i < count; i++)
                ck_assert_msg(files[i].named != directory->inode,
                              "%s is removed before its directory's name is on the disk", name);
}

int __wrap_unlinkat(int fd, const char *name, int flags) {
        int outcome = __real_unlinkat(fd, name, flags);

        if (outcome == 0 && !is_temporary(name)) {
                struct known *directory = find_directory(fd);

                check_may_be_removed(directory, name);
                directory->removed = true;
        }
        return outcome;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t at) {
        struct stat status;

        ck_assert_int_eq(fstat(fd, &status), 0);
        if (find(&status)->synced)
                ck_assert_msg(durable_names_stored(fd),
                              "a step is not on the disk before the next");
        return __real_pwrite64(fd, data, size, at);
}

static void check_settled(bool remnants) {
        for (size_t i = 0; i < count; i++) {
                ck_assert_msg(files[i].named == 0, "a name is not on the disk");
                ck_assert_msg(remnants || !files[i].removed,
                              "the end of a name is not on the disk");
        }
}

static bool try_once(const struct durable_trial *trial, unsigned failing_sync) {
        struct wla_error err = {0};

        failing = 0;
        count = 0;
        int directory_fd = trial->set_up();
        count = 0;
        store_all(directory_fd, "");
        syncs = 0;
        names = 0;
        failing = failing_sync;
        int outcome = trial->run(&err);
        bool failed = has_failed();
        ck_assert_msg(outcome == (failed ? -1 : 0), "sync %u: %s", failing_sync,
                      wla_error_text(&err));
        if (!failed)
                check_settled(trial->remnants);
        trial->tear_down(failed);
        return failed;
}

unsigned durable_names_try(const struct durable_trial *trial) {
        unsigned n = 1;

        while (try_once(trial, n))
                n++;
        return n - 1;
}

unsigned durable_names_failed_sync(void) {
        return has_failed() ? failing : 0;
}

unsigned durable_names_given(void) {
        return names;
}
