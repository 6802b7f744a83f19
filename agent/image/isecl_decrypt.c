/* SPDX-License-Identifier: Apache-2.0 */
#include "image/isecl_decrypt.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

static void free_context(EVP_CIPHER_CTX **context) {
        EVP_CIPHER_CTX_free(*context);
}

#define _cleanup_cipher_ __attribute__((cleanup(free_context)))

static int start(EVP_CIPHER_CTX *context, const struct isecl_image *image,
                 const struct wla_secret *key, struct wla_error *err) {
        struct wla_bytes bytes = wla_secret_view(key);

        if (bytes.size != AES256_KEY_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the key has %zu bytes where AES-256 needs %u",
                                bytes.size, AES256_KEY_SIZE);

        uint8_t tag[AES256_GCM_TAG];
        for (size_t i = 0; i < sizeof(tag); i++)
                tag[i] = image->tag[i];
        if (EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, bytes.data, image->nonce) != 1 ||
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, AES256_GCM_TAG, tag) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run AES-256");
        return 0;
}

static int read_whole(int fd, uint8_t *to, size_t size, uint64_t at, struct wla_error *err) {
        for (size_t done = 0; done < size;) {
                ssize_t got = pread(fd, to + done, size - done, (off_t)(at + done));

                if (got == 0)
                        return wla_fail(err, WLA_E_INPUT, "the image was cut while it was read");
                if (got < 0 && errno != EINTR)
                        return wla_fail_errno(err, errno, "reading the image");
                if (got > 0)
                        done += (size_t)got;
        }
        return 0;
}

/* Zeros behind the last piece. */
static int decrypt_piece(EVP_CIPHER_CTX *context, const uint8_t *sealed, size_t size,
                         struct wla_secret *plain, struct wla_error *err) {
        uint8_t *to = wla_secret_fill(plain);
        int written;

        if (EVP_DecryptUpdate(context, to, &written, sealed, (int)size) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run AES-256");
        OPENSSL_cleanse(to + size, ISECL_PIECE - size);
        return 0;
}

/* What is in front of the ciphertext, and the tag behind it. */
static int tell_rest(int fd, const struct isecl_sink *sink, uint8_t *piece, uint64_t at,
                     uint64_t size, struct wla_error *err) {
        for (uint64_t done = 0; sink->saw && done < size;) {
                size_t part = size - done < ISECL_PIECE ? (size_t)(size - done) : ISECL_PIECE;

                if (read_whole(fd, piece, part, at + done, err) < 0 ||
                    sink->saw(sink->self, piece, part, err) < 0)
                        return -1;
                done += part;
        }
        return 0;
}

static int check_tag(EVP_CIPHER_CTX *context, struct wla_error *err) {
        uint8_t nothing[EVP_MAX_BLOCK_LENGTH];
        int written;

        if (EVP_DecryptFinal_ex(context, nothing, &written) != 1)
                return wla_fail_hint(err, WLA_E_DENIED,
                                     "nothing of it was used; fetch the image again and see that "
                                     "it is given its own key",
                                     "the authentication tag does not match: this is another key, "
                                     "or the image was changed");
        return 0;
}

int isecl_decrypt(int fd, const struct isecl_image *image, const struct wla_secret *key,
                  const struct isecl_sink *sink, struct wla_error *err) {
        _cleanup_cipher_ EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        _cleanup_free_ uint8_t *sealed = malloc(ISECL_PIECE);
        _cleanup_secret_ struct wla_secret *plain = NULL;

        if (!context || !sealed)
                return wla_fail(err, WLA_E_BUSY, "there is no memory to decrypt with");
        if (start(context, image, key, err) < 0 || wla_secret_new(ISECL_PIECE, &plain, err) < 0)
                return -1;

        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        if (tell_rest(fd, sink, sealed, 0, image->data_offset, err) < 0)
                return -1;
        for (uint64_t at = 0; at < image->size; at += ISECL_PIECE) {
                uint64_t left = image->size - at;
                size_t size = left < ISECL_PIECE ? (size_t)left : ISECL_PIECE;

                if (read_whole(fd, sealed, size, image->data_offset + at, err) < 0 ||
                    (sink->saw && sink->saw(sink->self, sealed, size, err) < 0) ||
                    decrypt_piece(context, sealed, size, plain, err) < 0 ||
                    sink->write(sink->self, plain, size, at, err) < 0)
                        return -1;
        }
        if (tell_rest(fd, sink, sealed, image->data_offset + image->size, AES256_GCM_TAG, err) < 0)
                return -1;
        return check_tag(context, err);
}
