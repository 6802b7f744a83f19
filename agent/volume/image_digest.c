/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/image_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define PIECE           (UINT64_C(1) << 20) /* bytes that are read at a time */
#define POLL_PAUSE_NSEC 50000000
#define NAME_SIZE       40u

/* Kernels and file servers tell time in ticks: of two changes in one only the first can be seen. */
#define SETTLED_SEC 2

/* Of this program and this boot only: no other form is ever read.  Its state is always a lasting one. */
struct record {
        uint64_t magic;
        struct image_state state;
        uint64_t done; /* while it is computed; state.size: bytes is the digest */
        uint8_t bytes[IMAGE_DIGEST_SIZE];
};

#define RECORD_MAGIC UINT64_C(0x3238334148532d57) /* "W-SHA382" */

/* A page that somebody has mapped and written to takes what is written to it next without a trace, until
 * the kernel has stored it.  *ret_traces: from now on it leaves one. */
static int flush(int fd, bool *ret_traces, struct wla_error *err) {
        struct statfs facts;

        if (fstatfs(fd, &facts) < 0)
                return wla_fail_errno(err, errno, "looking at the image's file system");
        /* Memory is stored nowhere, an overlay does not say whether it is of memory, and with FAT the
         * times are what the file's owner sets. */
        *ret_traces = facts.f_type != TMPFS_MAGIC && facts.f_type != RAMFS_MAGIC &&
                      facts.f_type != OVERLAYFS_SUPER_MAGIC && facts.f_type != MSDOS_SUPER_MAGIC &&
                      facts.f_type != EXFAT_SUPER_MAGIC;
        if (fsync(fd) < 0) {
                if (errno != EINVAL && errno != EROFS)
                        return wla_fail_errno(err, errno, "storing the image");
                /* It has nothing to store to; whoever made it may know how to change it. */
                *ret_traces = false;
        }
        return 0;
}

static bool is_settled(const struct timespec *changed, const struct timespec *now) {
        const int64_t before = now->tv_sec - SETTLED_SEC;

        return changed->tv_sec < before ||
               (changed->tv_sec == before && changed->tv_nsec <= now->tv_nsec);
}

int image_state_read(int fd, struct image_state *ret, struct wla_error *err) {
        struct timespec now;
        struct stat status;
        bool traces;

        if (flush(fd, &traces, err) < 0)
                return -1;
        /* In this order: what changes in between is unsettled. */
        if (clock_gettime(CLOCK_REALTIME, &now) < 0 || fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the image");
        *ret = (struct image_state){
                .device = status.st_dev,
                .inode = status.st_ino,
                .size = (uint64_t)status.st_size,
                .modified_sec = status.st_mtim.tv_sec,
                .modified_nsec = status.st_mtim.tv_nsec,
                .changed_sec = status.st_ctim.tv_sec,
                .changed_nsec = status.st_ctim.tv_nsec,
                .lasting = traces && is_settled(&status.st_ctim, &now),
        };
        return 0;
}

bool image_state_equal(const struct image_state *a, const struct image_state *b) {
        return a->device == b->device && a->inode == b->inode && a->size == b->size &&
               a->modified_sec == b->modified_sec && a->modified_nsec == b->modified_nsec &&
               a->changed_sec == b->changed_sec && a->changed_nsec == b->changed_nsec;
}

static int open_record(int directory_fd, const struct image_state *state, int *ret,
                       struct wla_error *err) {
        char name[NAME_SIZE];

        (void)snprintf(name, sizeof(name), "%jx-%jx", (uintmax_t)state->device,
                       (uintmax_t)state->inode);
        *ret = openat(directory_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY,
                      S_IRUSR | S_IWUSR);
        return *ret < 0 ? wla_fail_errno(err, errno, "opening the record of its digest") : 0;
}

/* Whether it is of this state of the file. */
static bool read_record(const struct image_digest *digest, struct record *ret) {
        return pread(digest->record_fd, ret, sizeof(*ret), 0) == (ssize_t)sizeof(*ret) &&
               ret->magic == RECORD_MAGIC && ret->state.lasting &&
               image_state_equal(&ret->state, &digest->state);
}

static int write_at(int fd, const struct image_state *state, uint64_t done, const uint8_t *bytes,
                    struct wla_error *err) {
        struct record record;

        memset(&record, 0, sizeof(record));
        record.magic = RECORD_MAGIC;
        record.state = *state;
        record.done = done;
        if (bytes)
                memcpy(record.bytes, bytes, sizeof(record.bytes));
        if (pwrite(fd, &record, sizeof(record), 0) != (ssize_t)sizeof(record))
                return wla_fail_errno(err, errno, "writing the record of its digest");
        return 0;
}

/* What the next change would not show in is nobody's but ours. */
static int write_record(const struct image_digest *digest, const uint8_t *bytes,
                        struct wla_error *err) {
        if (!digest->state.lasting)
                return 0;
        return write_at(digest->record_fd, &digest->state, digest->done, bytes, err);
}

static void unlock(struct image_digest *digest) {
        digest->computes = false;
        EVP_MD_CTX_free(digest->context);
        digest->context = NULL;
        if (digest->record_fd >= 0)
                (void)flock(digest->record_fd, LOCK_UN);
}

static int start_computing(struct image_digest *digest, struct wla_error *err) {
        digest->done = 0;
        digest->context = EVP_MD_CTX_new();
        if (!digest->context || EVP_DigestInit_ex(digest->context, EVP_sha384(), NULL) != 1) {
                unlock(digest);
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot compute SHA-384");
        }
        if (write_record(digest, NULL, err) < 0) {
                unlock(digest);
                return -1;
        }
        (void)posix_fadvise(digest->image_fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        digest->computes = true;
        return 0;
}

/* When nobody has it locked, it is ready or ours to compute. */
static int try_lock(struct image_digest *digest, struct wla_error *err) {
        struct record record;

        if (flock(digest->record_fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return wla_fail_errno(err, errno, "locking the record of its digest");
                digest->done = read_record(digest, &record) ? record.done : 0;
                return 0;
        }
        if (!read_record(digest, &record) || record.done != digest->state.size)
                return start_computing(digest, err);
        memcpy(digest->bytes, record.bytes, sizeof(digest->bytes));
        digest->done = record.done;
        digest->ready = true;
        unlock(digest);
        return 0;
}

static int begin(int directory_fd, struct image_digest *digest, struct wla_error *err) {
        if (image_state_read(digest->image_fd, &digest->state, err) < 0)
                return -1;
        if (!digest->state.lasting)
                return start_computing(digest, err);
        if (open_record(directory_fd, &digest->state, &digest->record_fd, err) < 0)
                return -1;
        return try_lock(digest, err);
}

int image_digest_begin(int directory_fd, int image_fd, struct image_digest *digest,
                       struct wla_error *err) {
        *digest = IMAGE_DIGEST_NONE;
        digest->image_fd = image_fd;
        if (begin(directory_fd, digest, err) < 0) {
                image_digest_close(digest);
                return -1;
        }
        return 0;
}

static int read_piece(struct image_digest *digest, uint8_t *piece, struct wla_error *err) {
        uint64_t left = digest->state.size - digest->done;
        ssize_t got;

        do
                got = pread(digest->image_fd, piece, left < PIECE ? left : PIECE,
                            (off_t)digest->done);
        while (got < 0 && errno == EINTR);
        if (got < 0)
                return wla_fail_errno(err, errno, "reading the image");
        if (got == 0)
                return wla_fail(err, WLA_E_INPUT, "the image was cut while it was read");
        if (EVP_DigestUpdate(digest->context, piece, (size_t)got) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot compute SHA-384");
        digest->done += (uint64_t)got;
        return 0;
}

static int finish(struct image_digest *digest, struct wla_error *err) {
        struct image_state now;

        if (image_state_read(digest->image_fd, &now, err) < 0)
                return -1;
        if (!image_state_equal(&now, &digest->state))
                return wla_fail(err, WLA_E_INPUT, "the image was changed while it was read");
        if (EVP_DigestFinal_ex(digest->context, digest->bytes, NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot compute SHA-384");
        if (write_record(digest, digest->bytes, err) < 0)
                return -1;
        digest->ready = true;
        unlock(digest);
        return 0;
}

static int compute(struct image_digest *digest, uint64_t until_usec, struct wla_error *err) {
        _cleanup_free_ uint8_t *piece = malloc(PIECE);

        if (!piece)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        while (digest->done < digest->state.size) {
                if (read_piece(digest, piece, err) < 0)
                        return -1;
                if (digest->done < digest->state.size && clock_now_usec() >= until_usec)
                        return write_record(digest, NULL, err);
        }
        return finish(digest, err);
}

static int watch(struct image_digest *digest, uint64_t until_usec, struct wla_error *err) {
        const struct timespec pause = {.tv_nsec = POLL_PAUSE_NSEC};

        while (!digest->ready && !digest->computes && clock_now_usec() < until_usec) {
                (void)nanosleep(&pause, NULL);
                if (try_lock(digest, err) < 0)
                        return -1;
        }
        return 0;
}

int image_digest_advance(struct image_digest *digest, uint64_t usec, struct wla_error *err) {
        uint64_t until_usec = usec == UINT64_MAX ? UINT64_MAX : clock_now_usec() + usec;

        if (digest->ready)
                return 0;
        if (!digest->computes && watch(digest, until_usec, err) < 0)
                return -1;
        return digest->computes ? compute(digest, until_usec, err) : 0;
}

int image_digest_store(int directory_fd, const struct image_state *state,
                       const uint8_t bytes[IMAGE_DIGEST_SIZE], struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (!state->lasting)
                return 0;
        if (open_record(directory_fd, state, &fd, err) < 0)
                return -1;
        /* Who computes it will come to the same. */
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return 0;
        return write_at(fd, state, state->size, bytes, err);
}

void image_digest_close(struct image_digest *digest) {
        EVP_MD_CTX_free(digest->context);
        file_closep(&digest->record_fd);
        *digest = IMAGE_DIGEST_NONE;
}
