/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image_input.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/image_pair.h"
#include "image/qcow2_format.h"
#include "image/qcow2_source.h"

static const char hint_image[] =
        "name the image's file; 'wlagent image list' shows which images are "
        "registered here by their UUIDs";
static const char hint_header[] =
        "name its header with --header; 'wlagent image list' shows which images "
        "have theirs registered here";

static const char hint_disk[] = "name the disk by its file or block device";
static const char hint_alone[] =
        "name the header that 'wlagent image encrypt' has made, OUT.header";

static int open_source(const char *path, struct disk_source *ret, struct wla_error *err) {
        int fd;

        if (file_open_named(path, &fd, err) < 0)
                return -1;
        return raw_source_open(fd, ret, err) < 0 ? wla_wrap(err, "%s", path) : 0;
}

static int is_qcow2(const struct disk_source *file, const char *format, bool *ret,
                    struct wla_error *err) {
        struct disk_reader reader;
        uint8_t magic[4] = {0};

        if (format) {
                *ret = strcmp(format, "qcow2") == 0;
                return 0;
        }
        if (disk_reader_open(file, &reader, err) < 0)
                return -1;
        int outcome = file->size < sizeof(magic)
                              ? 0
                              : disk_reader_read(&reader, 0, magic, sizeof(magic), err);
        disk_reader_close(&reader);
        *ret = qcow2_load32(magic, 0) == QCOW2_MAGIC;
        return outcome;
}

int image_input_disk(const char *path, const char *format, struct disk_source *ret, bool *ret_qcow2,
                     struct wla_error *err) {
        _cleanup_disk_source_ struct disk_source file = {0};

        if (open_source(path, &file, err) < 0) {
                if (err->code == WLA_E_NOT_FOUND)
                        err->hint = hint_disk;
                return -1;
        }
        if (is_qcow2(&file, format, ret_qcow2, err) < 0)
                return wla_wrap(err, "%s", path);
        if (*ret_qcow2)
                return qcow2_source_open(&file, ret, err) < 0 ? wla_wrap(err, "%s", path) : 0;

        *ret = file;
        file = (struct disk_source){0};
        return 0;
}

int image_header_path(const char *path, char **ret, struct wla_error *err) {
        char *text = NULL;

        if (asprintf(&text, "%s" IMAGE_HEADER_SUFFIX, path) < 0)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        *ret = text;
        return 0;
}

/* Neither an image nor its header is there while 'wlagent image encrypt --force' replaces them. */
static int fail_missing(const char *path, const char *hint, struct wla_error *err) {
        if (image_pair_check(path, err) < 0)
                return -1;
        return wla_fail_hint(err, WLA_E_NOT_FOUND, hint, "%s does not exist", path);
}

int image_input_header(const char *path, const char *image, struct luks2_header *ret,
                       struct buf *content, struct wla_error *err) {
        _cleanup_buf_ struct buf own = BUF_WITH_LIMIT(LUKS2_HEADER_MAX);
        struct buf *bytes = content ? content : &own;

        if (file_read(AT_FDCWD, path, bytes, err) < 0) {
                if (err->code != WLA_E_NOT_FOUND)
                        return -1;
                if (image && access(image, F_OK) < 0)
                        return fail_missing(image, hint_image, err);
                return fail_missing(path, image ? hint_header : hint_alone, err);
        }
        if (luks2_header_check(bytes->data, bytes->size, ret, err) < 0)
                return wla_wrap(err, "%s", path);
        if (ret->kind != LUKS2_IMAGE)
                return wla_fail(err, WLA_E_UNSUPPORTED, "%s is the header of no image of wlagent",
                                path);
        return 0;
}

int image_input_ciphertext(const char *path, const struct luks2_header *header,
                           struct disk_source *ret, struct wla_error *err) {
        _cleanup_disk_source_ struct disk_source file = {0};

        if (open_source(path, &file, err) < 0)
                return err->code == WLA_E_NOT_FOUND ? fail_missing(path, hint_image, err) : -1;
        if (file.size != header->image.size)
                return wla_fail_hint(err, WLA_E_DENIED,
                                     "it was cut off or extended, or is not the image of this "
                                     "header",
                                     "%s has %ju bytes where its header says %ju", path,
                                     (uintmax_t)file.size, (uintmax_t)header->image.size);

        *ret = file;
        file = (struct disk_source){0};
        return 0;
}
