/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/image_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define PIECE           (UINT64_C(1) << 20) /* bytes that are read at a time */
#define POLL_PAUSE_NSEC 50000000
#define NAME_SIZE       40u

/* Of this program and this boot only: no other form is ever read. */
struct record {
        uint64_t magic;
        struct image_state state;
        uint64_t done; /* while it is computed; state.size: bytes is the digest */
        uint8_t bytes[IMAGE_DIGEST_SIZE];
};

#define RECORD_MAGIC UINT64_C(0x3138334148532d57) /* "W-SHA381" */

int image_state_read(int fd, struct image_state *ret, struct wla_error *err) {
        struct stat status;

        if (fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the image");
        *ret = (struct image_state){
                .device = status.st_dev,
                .inode = status.st_ino,
                .size = (uint64_t)status.st_size,
                .modified_sec = status.st_mtim.tv_sec,
                .modified_nsec = status.st_mtim.tv_nsec,
                .changed_sec = status.st_ctim.tv_sec,
                .changed_nsec = status.st_ctim.tv_nsec,
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
               ret->magic == RECORD_MAGIC && image_state_equal(&ret->state, &digest->state);
}

static int write_record(int fd, const struct image_state *state, uint64_t done,
                        const uint8_t *bytes, struct wla_error *err) {
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

static void unlock(struct image_digest *digest) {
        digest->computes = false;
        EVP_MD_CTX_free(digest->context);
        digest->context = NULL;
        (void)flock(digest->record_fd, LOCK_UN);
}

static int start_computing(struct image_digest *digest, struct wla_error *err) {
        digest->computes = true;
        digest->done = 0;
        digest->context = EVP_MD_CTX_new();
        if (!digest->context || EVP_DigestInit_ex(digest->context, EVP_sha384(), NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot compute SHA-384");
        (void)posix_fadvise(digest->image_fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        return write_record(digest->record_fd, &digest->state, 0, NULL, err);
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

int image_digest_begin(int directory_fd, int image_fd, struct image_digest *digest,
                       struct wla_error *err) {
        *digest = IMAGE_DIGEST_NONE;
        digest->image_fd = image_fd;
        if (image_state_read(image_fd, &digest->state, err) < 0 ||
            open_record(directory_fd, &digest->state, &digest->record_fd, err) < 0)
                return -1;
        return try_lock(digest, err);
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
        if (write_record(digest->record_fd, &digest->state, digest->done, digest->bytes, err) < 0)
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
                        return write_record(digest->record_fd, &digest->state, digest->done, NULL,
                                            err);
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

        if (open_record(directory_fd, state, &fd, err) < 0)
                return -1;
        /* Who computes it will come to the same. */
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return 0;
        return write_record(fd, state, state->size, bytes, err);
}

void image_digest_close(struct image_digest *digest) {
        EVP_MD_CTX_free(digest->context);
        file_closep(&digest->record_fd);
        *digest = IMAGE_DIGEST_NONE;
}
