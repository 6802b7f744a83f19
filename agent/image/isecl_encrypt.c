/* SPDX-License-Identifier: Apache-2.0 */
#include "image/isecl_encrypt.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/direct_write.h"

/* Plaintext in, ciphertext out of the same buffer. */
#define PIECE (1024u * 1024u)

struct pass {
        const struct isecl_encryption *what;
        struct disk_reader reader;
        EVP_CIPHER_CTX *cipher;
        EVP_MD_CTX *digest;
        uint8_t *buffer; /* aligned to DISK_ALIGNMENT */
        uint64_t written;
};

static void end_pass(struct pass *pass) {
        disk_reader_close(&pass->reader);
        EVP_CIPHER_CTX_free(pass->cipher);
        EVP_MD_CTX_free(pass->digest);
        free(pass->buffer);
}

#define _cleanup_pass_ __attribute__((cleanup(end_pass)))

static int fail_openssl(struct wla_error *err) {
        return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run AES-256 and SHA-384");
}

int isecl_nonce_make(uint8_t ret[AES256_GCM_NONCE], struct wla_error *err) {
        if (RAND_bytes(ret, AES256_GCM_NONCE) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL has no random bytes");
        return 0;
}

int isecl_size_check(uint64_t size, struct wla_error *err) {
        if (size == 0)
                return wla_fail(err, WLA_E_INPUT, "the disk is empty");
        if (size > ISECL_PLAIN_MAX)
                return wla_fail_hint(err, WLA_E_INPUT, "wlagent's own format has no such limit",
                                     "%ju bytes are more than the format ISecL-VMC can hold (%ju)",
                                     (uintmax_t)size, (uintmax_t)ISECL_PLAIN_MAX);
        return 0;
}

static int begin_pass(struct pass *pass, struct wla_error *err) {
        const struct isecl_encryption *what = pass->what;
        struct wla_bytes key = wla_secret_view(what->key);

        if (key.size != AES256_KEY_SIZE)
                return wla_fail(err, WLA_E_INPUT, "the key has %zu bytes where AES-256 needs %u",
                                key.size, AES256_KEY_SIZE);
        pass->cipher = EVP_CIPHER_CTX_new();
        pass->digest = EVP_MD_CTX_new();
        pass->buffer = aligned_alloc(DISK_ALIGNMENT, PIECE);
        if (!pass->cipher || !pass->digest || !pass->buffer)
                return wla_fail(err, WLA_E_BUSY, "there is no memory to encrypt with");
        if (EVP_EncryptInit_ex(pass->cipher, EVP_aes_256_gcm(), NULL, key.data, what->nonce) != 1 ||
            EVP_DigestInit_ex(pass->digest, EVP_sha384(), NULL) != 1)
                return fail_openssl(err);
        return disk_reader_open(what->plaintext, &pass->reader, err);
}

/* A disk that is too small is better known before than after. */
static int reserve(const struct isecl_encryption *what, struct wla_error *err) {
        uint64_t size = ISECL_HEADER_SIZE + what->plaintext->size + AES256_GCM_TAG;

        if (fallocate(what->fd, 0, 0, (off_t)size) == 0 || errno == EOPNOTSUPP || errno == ENOSYS)
                return 0;
        return wla_fail_errno(err, errno, "there is no room for %ju bytes", (uintmax_t)size);
}

static int append(struct pass *pass, const uint8_t *data, size_t size, struct wla_error *err) {
        const struct direct_write to = {.fd = pass->what->fd, .direct_fd = -1};

        if (EVP_DigestUpdate(pass->digest, data, size) != 1)
                return fail_openssl(err);
        if (direct_write(&to, pass->written, data, size, err) < 0)
                return -1;
        pass->written += size;
        return 0;
}

static int append_header(struct pass *pass, struct wla_error *err) {
        uint8_t header[ISECL_HEADER_SIZE];

        isecl_image_header(pass->what->nonce, header);
        return append(pass, header, sizeof(header), err);
}

static int append_ciphertext(struct pass *pass, struct wla_error *err) {
        const struct disk_source *from = pass->what->plaintext;
        const struct image_progress *progress = pass->what->progress;
        int size;

        for (uint64_t at = 0; at < from->size; at += PIECE) {
                uint64_t left = from->size - at;
                size_t part = left < PIECE ? (size_t)left : PIECE;

                if (disk_reader_read(&pass->reader, at, pass->buffer, part, err) < 0)
                        return -1;
                if (EVP_EncryptUpdate(pass->cipher, pass->buffer, &size, pass->buffer, (int)part) !=
                    1)
                        return fail_openssl(err);
                if (append(pass, pass->buffer, part, err) < 0)
                        return -1;
                if (progress && progress->show)
                        progress->show(progress->userdata, at + part, from->size);
        }
        return 0;
}

static int append_tag(struct pass *pass, struct wla_error *err) {
        uint8_t tag[AES256_GCM_TAG];
        int size;

        if (EVP_EncryptFinal_ex(pass->cipher, tag, &size) != 1 ||
            EVP_CIPHER_CTX_ctrl(pass->cipher, EVP_CTRL_AEAD_GET_TAG, AES256_GCM_TAG, tag) != 1)
                return fail_openssl(err);
        return append(pass, tag, sizeof(tag), err);
}

int isecl_encrypt(const struct isecl_encryption *what, uint8_t ret_digest[SHA384_SIZE],
                  struct wla_error *err) {
        _cleanup_pass_ struct pass pass = {.what = what};

        if (isecl_size_check(what->plaintext->size, err) < 0 || begin_pass(&pass, err) < 0 ||
            reserve(what, err) < 0 || append_header(&pass, err) < 0 ||
            append_ciphertext(&pass, err) < 0 || append_tag(&pass, err) < 0 ||
            disk_source_check_unchanged(what->plaintext, err) < 0)
                return -1;
        if (EVP_DigestFinal_ex(pass.digest, ret_digest, NULL) != 1)
                return fail_openssl(err);
        return 0;
}
