/* SPDX-License-Identifier: Apache-2.0 */
#include "image/isecl_convert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/derived_key.h"
#include "image/disk_content.h"
#include "image/header_writer.h"
#include "image/isecl_decrypt.h"
#include "image/sector_cipher.h"
#include "image/volume_key.h"

#define DATA_SUFFIX    ".img"
#define HEADER_SUFFIX  DATA_SUFFIX ".header"
#define PARTIAL_SUFFIX ".partial" /* behind either of them */
#define NAME_SIZE      (UUID_TEXT_SIZE + sizeof(HEADER_SUFFIX PARTIAL_SUFFIX))
#define FILE_MODE      0600
#define KEY_PURPOSE    "wlagent-isecl 1\n"

struct conversion_name {
        char text[NAME_SIZE];
};

static struct conversion_name name_of(const struct uuid *identity, const char *suffix) {
        struct conversion_name name;

        (void)snprintf(name.text, sizeof(name.text), "%s%s", identity->text, suffix);
        return name;
}

static int open_one(int directory_fd, struct conversion_name name, int *ret_fd,
                    struct wla_error *err) {
        int fd = openat(directory_fd, name.text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0 && errno == ENOENT)
                return wla_fail(err, WLA_E_NOT_FOUND, "the image has not been converted");
        if (fd < 0)
                return wla_fail_errno(err, errno, "opening the converted image");
        *ret_fd = fd;
        return 0;
}

int isecl_converted_open(int directory_fd, const struct uuid *identity, int *ret_data_fd,
                         int *ret_header_fd, struct wla_error *err) {
        _cleanup_close_ int data_fd = -1;
        _cleanup_close_ int header_fd = -1;

        if (open_one(directory_fd, name_of(identity, HEADER_SUFFIX), &header_fd, err) < 0 ||
            open_one(directory_fd, name_of(identity, DATA_SUFFIX), &data_fd, err) < 0)
                return -1;
        *ret_data_fd = TAKE_FD(data_fd);
        *ret_header_fd = TAKE_FD(header_fd);
        return 0;
}

/* Whether the name still stands for the open file: it was renamed or removed by whoever held the lock. */
static bool still_named(int directory_fd, const char *name, int fd) {
        struct stat named;
        struct stat opened;

        return fstatat(directory_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
               fstat(fd, &opened) == 0 && named.st_dev == opened.st_dev &&
               named.st_ino == opened.st_ino;
}

/* NULL with errno. */
static DIR *open_list(int directory_fd) {
        int list_fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *directory = list_fd < 0 ? NULL : fdopendir(list_fd);

        if (!directory)
                file_closep(&list_fd);
        return directory;
}

/* Partial files that nobody has locked are those of killed processes. */
static void remove_abandoned(int directory_fd) {
        DIR *directory = open_list(directory_fd);

        if (!directory)
                return;
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
                size_t length = strlen(entry->d_name);
                size_t suffix = strlen(PARTIAL_SUFFIX);

                if (length <= suffix ||
                    strcmp(entry->d_name + length - suffix, PARTIAL_SUFFIX) != 0)
                        continue;
                _cleanup_close_ int fd = openat(directory_fd, entry->d_name,
                                                O_RDWR | O_CLOEXEC | O_NOFOLLOW);
                if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
                    still_named(directory_fd, entry->d_name, fd))
                        (void)unlinkat(directory_fd, entry->d_name, 0);
        }
        (void)closedir(directory);
}

/* A partial file of this conversion, locked. */
static int open_partial(int directory_fd, struct conversion_name name, int *ret_fd,
                        struct wla_error *err) {
        for (;;) {
                _cleanup_close_ int fd = openat(directory_fd, name.text,
                                                O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                                                FILE_MODE);
                if (fd < 0)
                        return wla_fail_errno(err, errno, "making the converted image");
                if (flock(fd, LOCK_EX) < 0) {
                        if (errno == EINTR)
                                continue;
                        return wla_fail_errno(err, errno, "locking the converted image");
                }
                if (still_named(directory_fd, name.text, fd)) {
                        *ret_fd = TAKE_FD(fd);
                        return 0;
                }
        }
}

/* What is made, while the plaintext passes. */
struct converted {
        int fd;
        uint64_t size; /* bytes written */
        struct sector_cipher *cipher;
        uint64_t plain_size;
        struct disk_content content;
        struct wla_error content_error; /* told when the tag has shown whose content it is */
        EVP_MD_CTX *digest;             /* of the image's file, when it is wanted */
};

static int write_whole(int fd, const uint8_t *bytes, size_t size, uint64_t at,
                       struct wla_error *err) {
        while (size > 0) {
                ssize_t written = pwrite(fd, bytes, size, (off_t)at);

                if (written < 0 && errno != EINTR)
                        return wla_fail_errno(err, errno, "writing the converted image");
                if (written > 0) {
                        bytes += written;
                        at += (uint64_t)written;
                        size -= (size_t)written;
                }
        }
        return 0;
}

static void look_at_head(struct converted *to, const struct wla_secret *plain, size_t size) {
        size_t head = size < DISK_CONTENT_HEAD ? size : DISK_CONTENT_HEAD;

        if (disk_content_check(wla_secret_view(plain).data, head, to->plain_size, &to->content,
                               &to->content_error) == 0)
                to->content_error = (struct wla_error){0};
}

/* isecl_sink.write: encrypts in place. */
static int write_piece(void *self, struct wla_secret *plain, size_t size, uint64_t at,
                       struct wla_error *err) {
        struct converted *to = self;
        size_t sectors = (size + IMAGE_SECTOR_SIZE - 1) / IMAGE_SECTOR_SIZE * IMAGE_SECTOR_SIZE;

        if (at == 0)
                look_at_head(to, plain, size);
        if (sector_cipher_run(to->cipher, at, wla_secret_fill(plain), sectors, err) < 0 ||
            write_whole(to->fd, wla_secret_view(plain).data, sectors, at, err) < 0)
                return -1;
        to->size = at + sectors;
        return 0;
}

/* isecl_sink.saw */
static int add_to_digest(void *self, const uint8_t *bytes, size_t size, struct wla_error *err) {
        struct converted *to = self;

        if (EVP_DigestUpdate(to->digest, bytes, size) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot compute SHA-384");
        return 0;
}

static int decrypt_into(const struct isecl_conversion *what, const struct wla_secret *volume_key,
                        struct converted *to, struct wla_error *err) {
        const struct isecl_sink sink = {
                .self = to,
                .write = write_piece,
                .saw = to->digest ? add_to_digest : NULL,
        };

        /* Only a courtesy: a disk that is too full is known before the work. */
        if (fallocate(to->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)what->image->size) < 0 &&
            errno == ENOSPC)
                return wla_fail_errno(err, errno, "converting %llu bytes",
                                      (unsigned long long)what->image->size);
        if (sector_cipher_new(volume_key, IMAGE_SECTOR_SIZE, SECTOR_ENCRYPT, &to->cipher, err) < 0)
                return -1;

        int outcome = isecl_decrypt(what->image_fd, what->image, what->key, &sink, err);
        to->cipher = sector_cipher_free(to->cipher);
        if (outcome < 0)
                return -1;
        if (to->content_error.code != WLA_OK) {
                *err = to->content_error;
                return -1;
        }
        if (fsync(to->fd) < 0)
                return wla_fail_errno(err, errno, "writing the converted image");
        return 0;
}

static int make_header(const struct isecl_conversion *what, const struct wla_secret *volume_key,
                       const struct converted *converted, struct buf *header,
                       struct wla_error *err) {
        _cleanup_buf_ struct buf token_text = BUF_WITH_LIMIT(IMAGE_TOKEN_MAX);
        struct image_token token = {
                .key_id = *what->key_id,
                .content = converted->content.content,
                .size = converted->size,
                .virtual_size = converted->content.virtual_size,
        };
        const struct header_content content = {
                .uuid = what->image->identity,
                .volume_key = volume_key,
                .token = &token_text,
        };

        if (image_probe(volume_key, &content.uuid, converted->fd, token.size, token.probe, err) <
                    0 ||
            image_key_wrap(what->key, &content.uuid, volume_key, &token, err) < 0 ||
            image_token_write(&token, &token_text, err) < 0)
                return -1;
        return header_write(&content, header, err);
}

static int give_name(const struct isecl_conversion *what, const char *partial, const char *final,
                     struct wla_error *err) {
        const struct uuid *identity = &what->image->identity;

        if (renameat(what->directory_fd, name_of(identity, partial).text, what->directory_fd,
                     name_of(identity, final).text) < 0 ||
            fsync(what->directory_fd) < 0)
                return wla_fail_errno(err, errno, "naming the converted image");
        return 0;
}

static int write_header(const struct isecl_conversion *what, const struct buf *header,
                        struct wla_error *err) {
        struct conversion_name partial = name_of(&what->image->identity,
                                                 HEADER_SUFFIX PARTIAL_SUFFIX);
        _cleanup_close_ int fd = -1;

        if (open_partial(what->directory_fd, partial, &fd, err) < 0)
                return -1;
        if (ftruncate(fd, 0) < 0)
                return wla_fail_errno(err, errno, "emptying the converted image's header");
        if (write_whole(fd, header->data, header->size, 0, err) < 0)
                return -1;
        if (fsync(fd) < 0)
                return wla_fail_errno(err, errno, "writing the converted image's header");
        return give_name(what, HEADER_SUFFIX PARTIAL_SUFFIX, HEADER_SUFFIX, err);
}

static int convert_into(const struct isecl_conversion *what, int fd, EVP_MD_CTX *digest,
                        struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *volume_key = NULL;
        _cleanup_buf_ struct buf header = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
        struct converted converted = {
                .fd = fd,
                .plain_size = what->image->size,
                .digest = digest,
        };
        char purpose[sizeof(KEY_PURPOSE) + UUID_TEXT_SIZE];

        (void)snprintf(purpose, sizeof(purpose), KEY_PURPOSE "%s", what->image->identity.text);
        if (derived_key(what->key, (struct wla_bytes){(uint8_t *)purpose, strlen(purpose)},
                        VOLUME_KEY_SIZE, &volume_key, err) < 0 ||
            decrypt_into(what, volume_key, &converted, err) < 0 ||
            make_header(what, volume_key, &converted, &header, err) < 0)
                return -1;
        /* The ciphertext last: when its partial name is free again, whoever finds no lock there finds the
         * whole conversion.  Otherwise he would put another file below the VMs that have it open. */
        if (write_header(what, &header, err) < 0)
                return -1;
        return give_name(what, DATA_SUFFIX PARTIAL_SUFFIX, DATA_SUFFIX, err);
}

static int convert_and_digest(struct isecl_conversion *what, int fd, struct wla_error *err) {
        EVP_MD_CTX *digest = EVP_MD_CTX_new();
        int outcome = 0;

        if (!digest || EVP_DigestInit_ex(digest, EVP_sha384(), NULL) != 1)
                outcome = wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot compute SHA-384");
        if (outcome == 0)
                outcome = convert_into(what, fd, digest, err);
        if (outcome == 0) {
                what->digested = EVP_DigestFinal_ex(digest, what->digest, NULL) == 1;
                if (!what->digested)
                        outcome = wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot compute SHA-384");
        }
        EVP_MD_CTX_free(digest);
        return outcome;
}

static bool exists(const struct isecl_conversion *what) {
        struct wla_error ignored = {0};
        _cleanup_close_ int data_fd = -1;
        _cleanup_close_ int header_fd = -1;

        return isecl_converted_open(what->directory_fd, &what->image->identity, &data_fd,
                                    &header_fd, &ignored) == 0;
}

static void remove_partial(const struct isecl_conversion *what, const char *suffix) {
        (void)unlinkat(what->directory_fd, name_of(&what->image->identity, suffix).text, 0);
}

int isecl_convert(struct isecl_conversion *what, struct wla_error *err) {
        struct conversion_name partial = name_of(&what->image->identity,
                                                 DATA_SUFFIX PARTIAL_SUFFIX);
        _cleanup_close_ int fd = -1;
        int outcome = 0;

        what->digested = false;
        remove_abandoned(what->directory_fd);
        if (open_partial(what->directory_fd, partial, &fd, err) < 0)
                return -1;

        if (!exists(what)) {
                if (ftruncate(fd, 0) < 0)
                        outcome = wla_fail_errno(err, errno, "emptying the converted image");
                else if (what->wants_digest)
                        outcome = convert_and_digest(what, fd, err);
                else
                        outcome = convert_into(what, fd, NULL, err);
        }
        /* Whoever converts it as well waits for the lock on the file that had the name. */
        if (still_named(what->directory_fd, partial.text, fd))
                remove_partial(what, DATA_SUFFIX PARTIAL_SUFFIX);
        if (outcome < 0)
                remove_partial(what, HEADER_SUFFIX PARTIAL_SUFFIX);
        return outcome < 0 ? wla_wrap(err, "converting the image") : 0;
}

/* Whether the name is that of a conversion's ciphertext; then ret is its identity. */
static bool is_conversion(const char *name, struct uuid *ret) {
        const char *suffix = strchr(name, '.');
        struct wla_error ignored = {0};

        return suffix && strcmp(suffix, DATA_SUFFIX) == 0 &&
               uuid_parse(name, (size_t)(suffix - name), ret, &ignored) == 0 &&
               strcmp(name, name_of(ret, DATA_SUFFIX).text) == 0;
}

int isecl_converted_each(int directory_fd,
                         int (*each)(const struct uuid *identity, void *userdata,
                                     struct wla_error *err),
                         void *userdata, struct wla_error *err) {
        DIR *directory = open_list(directory_fd);
        int outcome = 0;

        if (!directory)
                return wla_fail_errno(err, errno, "listing the converted images");
        for (struct dirent *entry = readdir(directory); entry && outcome == 0;
             entry = readdir(directory)) {
                struct uuid identity;

                if (is_conversion(entry->d_name, &identity))
                        outcome = each(&identity, userdata, err);
        }
        (void)closedir(directory);
        return outcome;
}

/* The ciphertext first: a header alone is no conversion, and the next one replaces it. */
static int remove_both(int directory_fd, const struct uuid *identity, struct wla_error *err) {
        if (unlinkat(directory_fd, name_of(identity, DATA_SUFFIX).text, 0) < 0) {
                if (errno == ENOENT)
                        return wla_fail(err, WLA_E_NOT_FOUND, "the image has not been converted");
                return wla_fail_errno(err, errno, "removing the converted image");
        }
        if (unlinkat(directory_fd, name_of(identity, HEADER_SUFFIX).text, 0) < 0 ||
            fsync(directory_fd) < 0)
                return wla_fail_errno(err, errno, "removing the converted image's header");
        return 0;
}

int isecl_converted_remove(int directory_fd, const struct uuid *identity, struct wla_error *err) {
        struct conversion_name partial = name_of(identity, DATA_SUFFIX PARTIAL_SUFFIX);
        _cleanup_close_ int fd = -1;

        /* Whoever converts it has this locked, and would find half of it gone. */
        if (open_partial(directory_fd, partial, &fd, err) < 0)
                return -1;
        int outcome = remove_both(directory_fd, identity, err);
        if (still_named(directory_fd, partial.text, fd))
                (void)unlinkat(directory_fd, partial.text, 0);
        return outcome;
}
