/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_state.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#define PIECE_SIZE 16384u

static void write_word(const char *kind, const uint8_t *digest, unsigned size,
                       char to[static MIGRATE_STATE_SIZE]) {
        int at = snprintf(to, MIGRATE_STATE_SIZE, "%s:", kind);

        for (unsigned i = 0; i < size; i++)
                at += snprintf(to + at, MIGRATE_STATE_SIZE - (size_t)at, "%02x", digest[i]);
}

static int digest_bytes(const char *kind, struct wla_bytes bytes,
                        char to[static MIGRATE_STATE_SIZE], struct wla_error *err) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned size;

        if (EVP_Digest(bytes.data, bytes.size, digest, &size, EVP_sha256(), NULL) != 1)
                return wla_fail(err, WLA_E_SYSTEM, "OpenSSL cannot run SHA-256");
        write_word(kind, digest, size, to);
        return 0;
}

int migrate_state_of_file(struct wla_bytes content, char to[static MIGRATE_STATE_SIZE],
                          struct wla_error *err) {
        return digest_bytes("file", content, to, err);
}

int migrate_state_of_link(const char *target, char to[static MIGRATE_STATE_SIZE],
                          struct wla_error *err) {
        const struct wla_bytes bytes = {.data = (const uint8_t *)target, .size = strlen(target)};

        return digest_bytes("link", bytes, to, err);
}

/* 0 at the end, or an errno value. */
static int add_file(EVP_MD_CTX *context, int fd) {
        uint8_t piece[PIECE_SIZE];

        for (;;) {
                ssize_t size = read(fd, piece, sizeof(piece));

                if (size < 0 && errno == EINTR)
                        continue;
                if (size <= 0)
                        return size < 0 ? errno : 0;
                if (EVP_DigestUpdate(context, piece, (size_t)size) != 1)
                        return ENOMEM;
        }
}

/* Of any length: a program may have been installed where a link was. */
static int digest_file(const struct host_root *root, const char *path,
                       char to[static MIGRATE_STATE_SIZE], struct wla_error *err) {
        _cleanup_close_ int parent = -1;
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        const char *name;

        if (host_root_parent(root, path, &parent, &name, err) < 0)
                return -1;
        _cleanup_close_ int fd = openat(parent, name,
                                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return wla_fail_errno(err, errno, "opening %s", path);

        EVP_MD_CTX *context = EVP_MD_CTX_new();
        int failure = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1
                              ? add_file(context, fd)
                              : ENOMEM;
        if (failure == 0 && EVP_DigestFinal_ex(context, digest, &size) != 1)
                failure = ENOMEM;
        EVP_MD_CTX_free(context);
        if (failure != 0)
                return wla_fail_errno(err, failure, "reading %s", path);
        write_word("file", digest, size, to);
        return 0;
}

int migrate_state_read(const struct host_root *root, const char *path,
                       char to[static MIGRATE_STATE_SIZE], struct wla_error *err) {
        const char *word = "other";
        struct wla_error why = {0};
        char target[PATH_MAX];
        struct stat facts;

        if (host_root_stat(root, path, &facts, &why) < 0) {
                if (why.code != WLA_E_NOT_FOUND) {
                        *err = why;
                        return -1;
                }
                word = MIGRATE_STATE_ABSENT;
        } else if (S_ISREG(facts.st_mode)) {
                return digest_file(root, path, to, err);
        } else if (S_ISLNK(facts.st_mode)) {
                return host_root_link(root, path, target, err) < 0
                               ? -1
                               : migrate_state_of_link(target, to, err);
        } else if (S_ISDIR(facts.st_mode)) {
                word = MIGRATE_STATE_DIRECTORY;
        }
        (void)snprintf(to, MIGRATE_STATE_SIZE, "%s", word);
        return 0;
}
