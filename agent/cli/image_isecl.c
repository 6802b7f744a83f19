/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image_isecl.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/progress.h"
#include "image/direct_write.h"
#include "image/isecl_decrypt.h"
#include "image/pending_file.h"

#define FILE_MODE 0600 /* plaintext */

bool image_isecl_claimed(const char *path) {
        uint8_t head[ISECL_HEADER_SIZE];
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        ssize_t got = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);

        return got > 0 && isecl_image_claimed(head, (size_t)got);
}

int image_isecl_key(const struct image_key_place *place, struct wla_secret **ret,
                    struct wla_error *err) {
        if (!place->key_file && !image_key_place_is_kbs(place))
                return wla_fail_hint(
                        err, WLA_E_INPUT,
                        "give the key with --key-file, or its id in KBS with --kbs-key",
                        "an image of Intel SecL's format does not tell its key");
        return image_key_place_fetch(place, NULL, ret, err);
}

int image_isecl_read(const char *path, struct isecl_image *ret, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (file_open_named(path, &fd, err) < 0)
                return -1;
        return isecl_image_read(fd, ret, err) < 0 ? wla_wrap(err, "%s", path) : 0;
}

struct sink {
        struct direct_write to; /* fd -1: nowhere */
        struct progress progress;
        uint64_t size;
};

static int take_piece(void *self, struct wla_secret *plain, size_t size, uint64_t at,
                      struct wla_error *err) {
        struct sink *sink = self;

        if (sink->to.fd >= 0 &&
            direct_write(&sink->to, at, wla_secret_view(plain).data, size, err) < 0)
                return -1;
        progress_show(&sink->progress, at + size, sink->size);
        return 0;
}

static int run(const char *path, const struct wla_secret *key, int out_fd, const char *what,
               struct isecl_image *ret, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (file_open_named(path, &fd, err) < 0)
                return -1;
        if (isecl_image_read(fd, ret, err) < 0)
                return wla_wrap(err, "%s", path);

        struct sink sink = {
                .to = {.fd = out_fd, .direct_fd = -1},
                .progress = progress_begin(what),
                .size = ret->size,
        };
        const struct isecl_sink pieces = {.self = &sink, .write = take_piece};
        int outcome = isecl_decrypt(fd, ret, key, &pieces, err);
        progress_end(&sink.progress);
        return outcome < 0 ? wla_wrap(err, "%s", path) : 0;
}

int image_isecl_verify(const char *path, const struct wla_secret *key, struct isecl_image *ret,
                       struct wla_error *err) {
        return run(path, key, -1, "verifying", ret, err);
}

int image_isecl_decrypt(const char *path, const struct wla_secret *key, const char *out,
                        bool replace, struct wla_error *err) {
        _cleanup_pending_file_ struct pending_file file = PENDING_FILE;
        struct isecl_image image;

        if (pending_file_open(out, FILE_MODE, &file, err) < 0 ||
            run(path, key, file.fd, "decrypting", &image, err) < 0)
                return -1;
        return pending_file_publish(&file, replace, err);
}
