/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image_convert.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/direct_write.h"
#include "image/image_seal.h"
#include "image/sector_cipher.h"

/* Small enough for the processor's nearest cache: what was encrypted is sealed before it leaves it. */
#define PART_SIZE 16384u

/* What the workers of a pass share, and what each has; unused parts stay empty. */
struct pass {
        const struct disk_source *from;
        const struct wla_secret *volume_key;
        const struct uuid *header;
        struct direct_write to;
        bool encrypts;
        bool seals;
        struct seal_sum sum;
        struct ordered_digest *digest;
};

struct pass_worker {
        struct pass *pass;
        struct disk_reader reader;
        struct sector_cipher *cipher;
        struct seal_accumulator *seal;
};

static void end_worker(void *self, void *userdata) {
        struct pass_worker *worker = userdata;
        struct pass *pass = self;

        if (worker->seal)
                seal_add_to(worker->seal, &pass->sum);
        disk_reader_close(&worker->reader);
        sector_cipher_free(worker->cipher);
        seal_accumulator_free(worker->seal);
        free(worker);
}

static int begin_worker(void *self, void **ret, struct wla_error *err) {
        struct pass *pass = self;
        struct pass_worker *worker = calloc(1, sizeof(*worker));

        if (!worker)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        worker->pass = pass;
        if (disk_reader_open(pass->from, &worker->reader, err) < 0 ||
            (pass->encrypts && sector_cipher_new(pass->volume_key, IMAGE_SECTOR_SIZE,
                                                 SECTOR_ENCRYPT, &worker->cipher, err) < 0) ||
            (pass->seals &&
             seal_accumulator_new(pass->volume_key, pass->header, &worker->seal, err) < 0)) {
                end_worker(pass, worker);
                return -1;
        }
        *ret = worker;
        return 0;
}

static int encrypt_piece(struct pass_worker *worker, uint64_t at, uint8_t *piece, size_t size,
                         struct wla_error *err) {
        if (worker->seal && seal_begin_piece(worker->seal, at / IMAGE_PIECE_SIZE, err) < 0)
                return -1;

        for (size_t done = 0; done < size; done += PART_SIZE) {
                size_t part = size - done < PART_SIZE ? size - done : PART_SIZE;

                if (sector_cipher_run(worker->cipher, at + done, piece + done, part, err) < 0 ||
                    (worker->seal && seal_add_part(worker->seal, piece + done, part, err) < 0))
                        return -1;
        }
        return worker->seal ? seal_end_piece(worker->seal, err) : 0;
}

static int encrypt_pieces(struct pass_worker *worker, uint64_t at, uint8_t *pieces, size_t size,
                          struct wla_error *err) {
        for (size_t done = 0; done < size; done += IMAGE_PIECE_SIZE) {
                size_t piece = size - done < IMAGE_PIECE_SIZE ? size - done : IMAGE_PIECE_SIZE;

                if (encrypt_piece(worker, at + done, pieces + done, piece, err) < 0)
                        return -1;
        }
        return 0;
}

/* size: of ciphertext; behind the end of the disk are zeros. */
static int encrypt_and_write(struct pass_worker *worker, uint64_t number, uint8_t *buffer,
                             size_t size, struct wla_error *err) {
        struct pass *pass = worker->pass;
        uint64_t at = number * IMAGE_STEP_SIZE;
        uint64_t there = pass->from->size - at;
        size_t part = there < size ? (size_t)there : size;

        memset(buffer + part, 0, size - part);
        if (disk_reader_read(&worker->reader, at, buffer, part, err) < 0 ||
            encrypt_pieces(worker, at, buffer, size, err) < 0)
                return -1;
        if (pass->digest && ordered_digest_add(pass->digest, number, buffer, size, err) < 0)
                return -1;
        return direct_write(&pass->to, at, buffer, size, err);
}

static int encrypt_step(void *self, uint64_t number, uint8_t *buffer, size_t size,
                        struct wla_error *err) {
        struct pass_worker *worker = self;
        struct ordered_digest *digest = worker->pass->digest;

        if (encrypt_and_write(worker, number, buffer, size, err) == 0)
                return 0;
        if (digest)
                ordered_digest_stop(digest, err);
        return -1;
}

static const struct image_sweep_ops encrypt_ops = {
        .begin = begin_worker,
        .step = encrypt_step,
        .end = end_worker,
};

/* A disk that is too small is better known before than after. */
static int reserve(int fd, uint64_t size, struct wla_error *err) {
        if (fallocate(fd, 0, 0, (off_t)size) == 0)
                return 0;
        if (errno == EOPNOTSUPP || errno == ENOSYS)
                return 0;
        return wla_fail_errno(err, errno, "there is no room for %ju bytes", (uintmax_t)size);
}

int image_encrypt(const struct image_encryption *what, struct image_token *token,
                  struct wla_error *err) {
        struct pass pass = {
                .from = what->plaintext,
                .volume_key = what->volume_key,
                .header = &what->header,
                .encrypts = true,
                .seals = token->sealed,
                .digest = what->digest,
        };
        const struct image_sweep sweep = {
                .ops = &encrypt_ops,
                .self = &pass,
                .size = token->size,
                .worker_memory = what->plaintext->reader_memory,
                .progress = what->progress,
        };

        if (reserve(what->fd, token->size, err) < 0)
                return -1;

        pass.to = direct_write_begin(what->fd);
        int outcome = image_sweep_run(&sweep, err);
        direct_write_end(&pass.to);
        if (outcome < 0 || disk_source_check_unchanged(what->plaintext, err) < 0)
                return -1;

        if (token->sealed && seal_finish(what->volume_key, &what->header, token->size, &pass.sum,
                                         token->seal, err) < 0)
                return -1;
        return image_probe(what->volume_key, &what->header, what->fd, token->size, token->probe,
                           err);
}

static int verify_piece(struct pass_worker *worker, uint64_t number, const uint8_t *piece,
                        size_t size, struct wla_error *err) {
        if (seal_begin_piece(worker->seal, number, err) < 0 ||
            seal_add_part(worker->seal, piece, size, err) < 0)
                return -1;
        return seal_end_piece(worker->seal, err);
}

static int verify_step(void *self, uint64_t number, uint8_t *buffer, size_t size,
                       struct wla_error *err) {
        struct pass_worker *worker = self;
        uint64_t at = number * IMAGE_STEP_SIZE;

        if (disk_reader_read(&worker->reader, at, buffer, size, err) < 0)
                return -1;
        for (size_t done = 0; done < size; done += IMAGE_PIECE_SIZE) {
                size_t piece = size - done < IMAGE_PIECE_SIZE ? size - done : IMAGE_PIECE_SIZE;

                if (verify_piece(worker, (at + done) / IMAGE_PIECE_SIZE, buffer + done, piece,
                                 err) < 0)
                        return -1;
        }
        return 0;
}

static const struct image_sweep_ops verify_ops = {
        .begin = begin_worker,
        .step = verify_step,
        .end = end_worker,
};

int image_verify(const struct image_check *what, struct wla_error *err) {
        uint8_t seal[IMAGE_SEAL_SIZE];
        struct pass pass = {
                .from = what->ciphertext,
                .volume_key = what->volume_key,
                .header = &what->header->uuid,
                .seals = true,
        };
        const struct image_sweep sweep = {
                .ops = &verify_ops,
                .self = &pass,
                .size = what->header->image.size,
                .worker_memory = what->ciphertext->reader_memory,
                .progress = what->progress,
        };

        if (image_sweep_run(&sweep, err) < 0 || seal_finish(what->volume_key, &what->header->uuid,
                                                            sweep.size, &pass.sum, seal, err) < 0)
                return -1;
        if (CRYPTO_memcmp(seal, what->header->image.seal, sizeof(seal)) != 0)
                return wla_fail_hint(err, WLA_E_DENIED,
                                     "an image that VMs write to directly has no seal any more; "
                                     "any other was changed or damaged",
                                     "the seal does not match: the image was changed");
        return 0;
}

static bool all_zero(const uint8_t *data, size_t size) {
        return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

/* Block by block, so that holes come back where they were. */
static int write_step(void *self, uint64_t number, uint8_t *buffer, size_t size,
                      struct wla_error *err) {
        struct pass_worker *worker = self;
        uint64_t at = number * IMAGE_STEP_SIZE;
        size_t done = 0;

        if (disk_reader_read(&worker->reader, at, buffer, size, err) < 0)
                return -1;

        while (done < size) {
                size_t end = done;

                while (end < size) {
                        size_t block = size - end < DISK_ALIGNMENT ? size - end : DISK_ALIGNMENT;

                        if (all_zero(buffer + end, block))
                                break;
                        end += block;
                }
                if (end > done &&
                    direct_write(&worker->pass->to, at + done, buffer + done, end - done, err) < 0)
                        return -1;
                done = end + DISK_ALIGNMENT;
        }
        return 0;
}

static const struct image_sweep_ops write_ops = {
        .begin = begin_worker,
        .step = write_step,
        .end = end_worker,
};

int image_write_sparse(const struct disk_source *disk, int fd,
                       const struct image_progress *progress, struct wla_error *err) {
        struct pass pass = {.from = disk};
        const struct image_sweep sweep = {
                .ops = &write_ops,
                .self = &pass,
                .size = disk->size,
                .worker_memory = disk->reader_memory,
                .progress = progress,
        };

        if (ftruncate(fd, (off_t)disk->size) < 0)
                return wla_fail_errno(err, errno, "cannot make a file of %ju bytes",
                                      (uintmax_t)disk->size);

        pass.to = direct_write_begin(fd);
        int outcome = image_sweep_run(&sweep, err);
        direct_write_end(&pass.to);
        return outcome;
}
