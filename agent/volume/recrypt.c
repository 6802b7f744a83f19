/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/recrypt.h"

#include <errno.h>
#include <unistd.h>

#include "image/sector_cipher.h"
#include "image/token.h"

/* Sectors of any size, and with its length one 64 KiB block of the secure heap. */
#define PIECE (15u * IMAGE_SECTOR_SIZE)

struct recrypt {
        const struct recrypt_plan *plan;
        struct sector_cipher *from;
        struct sector_cipher *to;
        struct wla_secret *piece;
};

static int read_whole(int fd, uint8_t *to, size_t size, uint64_t at, struct wla_error *err) {
        while (size > 0) {
                ssize_t got = pread(fd, to, size, (off_t)at);

                if (got == 0)
                        return wla_fail(err, WLA_E_INPUT, "the volume was cut while it was read");
                if (got < 0 && errno != EINTR)
                        return wla_fail_errno(err, errno, "reading the volume");
                if (got > 0) {
                        to += got;
                        at += (uint64_t)got;
                        size -= (size_t)got;
                }
        }
        return 0;
}

static int write_whole(int fd, const uint8_t *from, size_t size, uint64_t at,
                       struct wla_error *err) {
        while (size > 0) {
                ssize_t written = pwrite(fd, from, size, (off_t)at);

                if (written < 0 && errno != EINTR)
                        return wla_fail_errno(err, errno, "writing the new volume");
                if (written > 0) {
                        from += written;
                        at += (uint64_t)written;
                        size -= (size_t)written;
                }
        }
        return 0;
}

/* at: in the data. */
static int recrypt_piece(struct recrypt *state, uint64_t at, size_t size, struct wla_error *err) {
        const struct recrypt_plan *plan = state->plan;
        uint8_t *bytes = wla_secret_fill(state->piece);

        if (read_whole(plan->from_fd, bytes, size, plan->offset + at, err) < 0 ||
            sector_cipher_run(state->from, at, bytes, size, err) < 0 ||
            sector_cipher_run(state->to, at, bytes, size, err) < 0)
                return -1;
        return write_whole(plan->to_fd, bytes, size, plan->offset + at, err);
}

/* The next stretch of data in the file at or behind at, as whole sectors; *ret_begin is the size of all
 * when there is none. */
static int find_data(const struct recrypt_plan *plan, uint64_t at, uint64_t *ret_begin,
                     uint64_t *ret_end, struct wla_error *err) {
        off_t begin = lseek(plan->from_fd, (off_t)(plan->offset + at), SEEK_DATA);

        if (begin < 0 && errno == ENXIO) {
                *ret_begin = plan->size;
                *ret_end = plan->size;
                return 0;
        }
        off_t end = begin < 0 ? -1 : lseek(plan->from_fd, begin, SEEK_HOLE);
        if (end < 0)
                return wla_fail_errno(err, errno, "looking for data in the volume");

        uint64_t first = (uint64_t)begin - plan->offset;
        uint64_t last = (uint64_t)end - plan->offset;
        first -= first % IMAGE_SECTOR_SIZE;
        last += (IMAGE_SECTOR_SIZE - last % IMAGE_SECTOR_SIZE) % IMAGE_SECTOR_SIZE;
        *ret_begin = first < plan->size ? first : plan->size;
        *ret_end = last < plan->size ? last : plan->size;
        return 0;
}

static int recrypt_all(struct recrypt *state, struct wla_error *err) {
        uint64_t size = state->plan->size;

        for (uint64_t at = 0; at < size;) {
                uint64_t end;

                if (find_data(state->plan, at, &at, &end, err) < 0)
                        return -1;
                while (at < end) {
                        size_t piece = end - at < PIECE ? (size_t)(end - at) : PIECE;

                        if (recrypt_piece(state, at, piece, err) < 0)
                                return -1;
                        at += piece;
                }
        }
        return 0;
}

int recrypt(const struct recrypt_plan *plan, struct wla_error *err) {
        _cleanup_sector_cipher_ struct sector_cipher *from = NULL;
        _cleanup_sector_cipher_ struct sector_cipher *to = NULL;
        _cleanup_secret_ struct wla_secret *piece = NULL;

        if (sector_cipher_new(plan->from_key, plan->sector_size, SECTOR_DECRYPT, &from, err) < 0 ||
            sector_cipher_new(plan->to_key, plan->sector_size, SECTOR_ENCRYPT, &to, err) < 0 ||
            wla_secret_new(PIECE, &piece, err) < 0)
                return -1;

        struct recrypt state = {.plan = plan, .from = from, .to = to, .piece = piece};
        return recrypt_all(&state, err);
}
