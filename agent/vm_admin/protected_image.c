/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/protected_image.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/image_room.h"
#include "image/isecl_image.h"
#include "image/luks2_header.h"
#include "volume/image_file.h"

static const char hint_encrypt[] = "'wlagent image encrypt' makes images that wlagent opens";
static const char hint_key[] = "name it with --key, like --key local:///NAME";
static const char hint_no_key[] = "leave --key out";

/* What there is of a header: luks2_header_check() knows where it ends. */
static int read_head(int fd, struct buf *to, struct wla_error *err) {
        struct stat facts;

        if (fstat(fd, &facts) < 0)
                return wla_fail_errno(err, errno, "looking at it");

        size_t size = (uint64_t)facts.st_size < to->limit ? (size_t)facts.st_size : to->limit;
        uint8_t *data = buf_extend(to, size, err);
        if (!data)
                return -1;

        for (size_t at = 0; at < size;) {
                ssize_t count = pread(fd, data + at, size - at, (off_t)at);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count <= 0)
                        return wla_fail_errno(err, count < 0 ? errno : EIO, "reading it");
                at += (size_t)count;
        }
        return 0;
}

static int need_key(const struct protected_disk *disk, struct wla_error *err) {
        if (disk->has_key_id)
                return 0;
        return wla_fail_hint(err, WLA_E_INPUT, hint_key, "it does not say which key opens it");
}

/* Its key is fetched by the image's UUID, together with its flavor, instead of by the link in the header. */
static bool is_wls_image(const struct protected_disk *disk, const struct luks2_header *header) {
        return disk->key_id.scheme == KEY_SCHEME_WLS && disk->mode != DISK_DIRECT &&
               header->image.key_id.scheme == KEY_SCHEME_HTTPS;
}

static int judge_header(const struct luks2_header *header, struct protected_disk *disk,
                        struct wla_error *err) {
        enum image_content content = IMAGE_CONTENT_RAW;

        switch (header->kind) {
        case LUKS2_LAYER:
                return wla_fail(err, WLA_E_INPUT, "it is the layer of a domain, and no image");
        case LUKS2_ORDINARY:
                if (need_key(disk, err) < 0)
                        return -1;
                break;
        case LUKS2_IMAGE:
                if (disk->has_key_id && !is_wls_image(disk, header))
                        return wla_fail_hint(err, WLA_E_INPUT, hint_no_key,
                                             "its header says which key opens it: %s",
                                             header->image.key_id.text);
                if (disk->mode == DISK_DIRECT && image_room_check(&header->image, err) < 0)
                        return -1;
                content = header->image.content;
                break;
        }

        disk->format = disk->mode == DISK_DIRECT ? content : IMAGE_CONTENT_QCOW2;
        return 0;
}

/* wlagent-volumed converts such an image once, and only reads the result. */
static int judge_isecl(struct protected_disk *disk, struct wla_error *err) {
        if (disk->mode == DISK_DIRECT)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, "use --mode layer",
                                     "an image of Intel SecL cannot be written to");

        disk->format = IMAGE_CONTENT_QCOW2;
        return need_key(disk, err);
}

static int judge_bytes(const struct image_file *image, const struct buf *bytes,
                       struct protected_disk *disk, struct wla_error *err) {
        struct luks2_header header;

        if (image->header_fd < 0 && isecl_image_claimed(bytes->data, bytes->size))
                return judge_isecl(disk, err);

        if (luks2_header_check(bytes->data, bytes->size, &header, err) < 0) {
                if (!err->hint)
                        err->hint = hint_encrypt;
                return wla_wrap(err, "its header");
        }
        return judge_header(&header, disk, err);
}

int protected_image_check(const struct config_paths *roots, struct protected_disk *disk,
                          struct wla_error *err) {
        _cleanup_buf_ struct buf bytes = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);
        _cleanup_image_file_ struct image_file image = IMAGE_FILE_NONE;
        const char *elsewhere = disk->header[0] ? disk->header : NULL;

        if (image_file_open(roots, disk->image, elsewhere, &image, err) < 0)
                return wla_wrap(err, "image %s", disk->image);

        int fd = image.header_fd >= 0 ? image.header_fd : image.fd;
        if (read_head(fd, &bytes, err) < 0 || judge_bytes(&image, &bytes, disk, err) < 0)
                return wla_wrap(err, "image %s", disk->image);
        return 0;
}
