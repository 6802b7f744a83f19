/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/disk_source.h"

struct raw_source {
        int fd;
        int direct_fd; /* the same file past the page cache, or -1 */
        uint64_t size;
        struct stat status;
};

static void close_source(void *self) {
        struct raw_source *source = self;

        file_closep(&source->fd);
        file_closep(&source->direct_fd);
        free(source);
}

static int new_reader(void *self, void **ret, struct wla_error *err) {
        (void)err;
        *ret = self;
        return 0;
}

static void free_reader(void *reader) {
        (void)reader;
}

static bool aligned(uint64_t at, const uint8_t *to, size_t size) {
        return (at | (uintptr_t)to | size) % DISK_ALIGNMENT == 0;
}

static int read_disk(void *reader, uint64_t at, uint8_t *to, size_t size, struct wla_error *err) {
        const struct raw_source *source = reader;

        for (size_t done = 0; done < size;) {
                bool direct = source->direct_fd >= 0 && aligned(at + done, to + done, size - done);
                ssize_t got = pread(direct ? source->direct_fd : source->fd, to + done, size - done,
                                    (off_t)(at + done));

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return wla_fail_errno(err, errno, "cannot read the disk at byte %ju",
                                              (uintmax_t)(at + done));
                if (got == 0)
                        return wla_fail_hint(err, WLA_E_INPUT,
                                             "make sure that nothing uses it, and start again",
                                             "the disk has become shorter while it was read");
                done += (size_t)got;
        }
        return 0;
}

/* File systems that do not know holes have none. */
static int next_data(void *self, uint64_t from, struct disk_range *ret, struct wla_error *err) {
        const struct raw_source *source = self;
        off_t start = lseek(source->fd, (off_t)from, SEEK_DATA);

        *ret = (struct disk_range){source->size, source->size};
        if (start < 0 && errno == ENXIO)
                return 0;
        if (start < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {
                ret->start = from;
                return 0;
        }

        off_t end = start < 0 ? -1 : lseek(source->fd, start, SEEK_HOLE);
        if (end < 0)
                return wla_fail_errno(err, errno, "cannot find the holes of the disk");
        if ((uint64_t)start < source->size)
                *ret = (struct disk_range){(uint64_t)start, (uint64_t)end < source->size
                                                                    ? (uint64_t)end
                                                                    : source->size};
        return 0;
}

static int check_unchanged(void *self, struct wla_error *err) {
        const struct raw_source *source = self;
        struct stat now;

        if (fstat(source->fd, &now) < 0)
                return wla_fail_errno(err, errno, "cannot examine the disk");
        if (S_ISREG(now.st_mode) && (now.st_size != source->status.st_size ||
                                     now.st_mtim.tv_sec != source->status.st_mtim.tv_sec ||
                                     now.st_mtim.tv_nsec != source->status.st_mtim.tv_nsec))
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "make sure that nothing uses it, and start again",
                                     "the disk has changed while it was read");
        return 0;
}

static const struct disk_source_ops raw_ops = {
        .reader_new = new_reader,
        .read = read_disk,
        .reader_free = free_reader,
        .next_data = next_data,
        .check_unchanged = check_unchanged,
        .close = close_source,
};

/* An open file description of its own, since O_DIRECT belongs to that. */
static int reopen_direct(int fd) {
        char path[32];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
}

static int measure(struct raw_source *source, struct wla_error *err) {
        if (fstat(source->fd, &source->status) < 0)
                return wla_fail_errno(err, errno, "cannot examine the disk");
        if (!S_ISREG(source->status.st_mode) && !S_ISBLK(source->status.st_mode))
                return wla_fail(err, WLA_E_INPUT, "neither a file nor a block device");

        off_t size = lseek(source->fd, 0, SEEK_END);
        if (size < 0)
                return wla_fail_errno(err, errno, "cannot tell the size of the disk");
        if (size == 0)
                return wla_fail(err, WLA_E_INPUT, "the disk is empty");

        source->size = (uint64_t)size;
        return 0;
}

int raw_source_open(int fd, struct disk_source *ret, struct wla_error *err) {
        struct raw_source *source = calloc(1, sizeof(*source));

        if (!source) {
                (void)close(fd);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        source->fd = fd;
        source->direct_fd = -1;
        if (measure(source, err) < 0) {
                close_source(source);
                return -1;
        }

        source->direct_fd = reopen_direct(fd);
        *ret = (struct disk_source){.ops = &raw_ops, .self = source, .size = source->size};
        return 0;
}
