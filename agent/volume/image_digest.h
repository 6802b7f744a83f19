/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SHA-384 of an image's file, which flavors are held against.
 *
 * It takes time in proportion to the file, so it is computed once for each state of it (device, inode, size,
 * and the times of its last change) and kept until the host starts anew:
 *
 *   DIRECTORY/DEVICE-INODE    a record of fixed size; locked (flock(2)) by whoever computes it
 *
 * One process computes, the others see how far it has come.  Who computes in steps, and has nobody left who
 * waits, goes on to the end: the next start finds the digest.
 *
 * A digest is kept only for a state that lasts: in which the next change of the file's content would show.
 * The times of a file tell of a write through a shared mapping when it first dirties a page, and not again
 * until that page has been stored (mmap(2), fsync(2)): so the file is stored before each look at it.  In
 * memory (tmpfs) nothing is ever stored.  And what changed less than two seconds before the look may change
 * once more in the same tick of the clock.  For a state that does not last each who asks computes alone, and
 * knows the digest alone.
 *
 * The file is held open by who asks, so that what was read is what is opened; a file that changes meanwhile
 * has no digest, as far as that shows.  Nobody but root can write to the directory.
 *
 * Ownership: image_digest_close() releases it and is safe on IMAGE_DIGEST_NONE; descriptors of images and of
 *            the directory stay the caller's.
 * Threads:   one at a time; any number of processes.
 * Failure:   WLA_E_INPUT for a file that changes, WLA_E_SYSTEM.
 */

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "wlagent/error.h"

#define IMAGE_DIGEST_SIZE 48u

/* What tells one content of a file from the next, when it is lasting. */
struct image_state {
        uint64_t device;
        uint64_t inode;
        uint64_t size;
        int64_t modified_sec;
        int64_t modified_nsec;
        int64_t changed_sec;
        int64_t changed_nsec;
        bool lasting; /* no part of what is compared */
};

/* Stores the file before it looks at it: fd may be read only. */
int image_state_read(int fd, struct image_state *ret, struct wla_error *err) _must_check_;
bool image_state_equal(const struct image_state *a, const struct image_state *b);

struct image_digest {
        int image_fd;  /* -1: not begun */
        int record_fd; /* -1: state does not last */
        bool computes; /* we do, and have the record locked */
        EVP_MD_CTX *context;
        struct image_state state;
        uint64_t done; /* bytes of state.size */
        bool ready;
        uint8_t bytes[IMAGE_DIGEST_SIZE];
};

#define IMAGE_DIGEST_NONE ((struct image_digest){.image_fd = -1, .record_fd = -1})

/* On failure it is as not begun. */
int image_digest_begin(int directory_fd, int image_fd, struct image_digest *digest,
                       struct wla_error *err) _must_check_;

/* Computes, or looks at who does, for about so long; digest->ready and ->done tell how far it is then.
 * UINT64_MAX: until it is ready; only for who computes. */
int image_digest_advance(struct image_digest *digest, uint64_t usec,
                         struct wla_error *err) _must_check_;

/* Keeps a digest that was computed by other means, while the file had that state, if that lasts. */
int image_digest_store(int directory_fd, const struct image_state *state,
                       const uint8_t bytes[IMAGE_DIGEST_SIZE], struct wla_error *err) _must_check_;

void image_digest_close(struct image_digest *digest);
