/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/image_input.h"
#include "cli/image_isecl.h"
#include "cli/json_writer.h"

enum { HEADER, JSON };

static const struct command_option options[] = {
        [HEADER] = {"header", "FILE", "the header, when it is not FILE.header"},
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

struct info {
        struct luks2_header header;
        const char *path; /* of the header */
        bool image_there;
        uint64_t image_size;
};

static bool size_agrees(const struct info *info) {
        return info->image_there && info->image_size == info->header.image.size;
}

static int print_json(const struct info *info, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        const struct image_token *token = &info->header.image;

        json_open_object(&writer, NULL);
        json_put_text(&writer, "header", info->path);
        json_put_text(&writer, "uuid", info->header.uuid.text);
        json_put_text(&writer, "key", token->key_id.text);
        json_put_text(&writer, "content", image_content_name(token->content));
        json_put_number(&writer, "size", token->size);
        json_put_number(&writer, "virtual_size", token->virtual_size);
        json_put_bool(&writer, "sealed", token->sealed);
        json_put_bool(&writer, "size_agrees", size_agrees(info));
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static void print_text(const struct info *info) {
        const struct image_token *token = &info->header.image;

        (void)printf("Header:        %s\n"
                     "UUID:          %s\n"
                     "Key:           %s\n"
                     "Content:       %s, a disk of %" PRIu64 " bytes\n"
                     "Cipher:        " LUKS2_CIPHER ", %u-bit key, sectors of %u bytes\n"
                     "Size:          %" PRIu64 " bytes%s\n"
                     "Sealed:        %s\n",
                     info->path, info->header.uuid.text, token->key_id.text,
                     image_content_name(token->content), token->virtual_size,
                     info->header.volume_key_size * 8, info->header.sector_size, token->size,
                     size_agrees(info)   ? ""
                     : info->image_there ? ", but the image has another size"
                                         : ", but there is no image",
                     token->sealed ? "yes" : "no");
}

static int show_isecl(const char *path, bool json, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        struct isecl_image image;

        if (image_isecl_read(path, &image, err) < 0)
                return -1;
        if (!json) {
                (void)printf("Image:         %s\n"
                             "Format:        Intel SecL's ISecL-VMC\n"
                             "Cipher:        AES-256-GCM, one message\n"
                             "Size:          %" PRIu64 " bytes inside\n",
                             path, image.size);
                return 0;
        }
        json_open_object(&writer, NULL);
        json_put_text(&writer, "image", path);
        json_put_text(&writer, "format", "isecl");
        json_put_text(&writer, "uuid", image.identity.text);
        json_put_number(&writer, "size", image.size);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

/* Somebody may name the one file or the other. */
static bool names_header(const char *path) {
        size_t length = strlen(path);
        size_t suffix = strlen(IMAGE_HEADER_SUFFIX);

        return length > suffix && strcmp(path + length - suffix, IMAGE_HEADER_SUFFIX) == 0;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        _cleanup_free_ char *other = NULL;
        struct info info = {.path = arguments->option[HEADER]};
        struct stat status;

        (void)invocation;
        const char *image = arguments->operand;
        if (!info.path && image_isecl_claimed(image))
                return show_isecl(image, arguments->option[JSON] != NULL, err) < 0 ? OUTCOME_FAILED
                                                                                   : OUTCOME_OK;
        if (!info.path && names_header(image)) {
                info.path = image;
                other = strndup(image, strlen(image) - strlen(IMAGE_HEADER_SUFFIX));
                image = other;
        } else if (!info.path) {
                if (image_header_path(image, &other, err) < 0)
                        return OUTCOME_FAILED;
                info.path = other;
        }
        if (image_input_header(info.path, info.path == other ? image : NULL, &info.header, NULL,
                               err) < 0)
                return OUTCOME_FAILED;

        info.image_there = image && stat(image, &status) == 0;
        info.image_size = info.image_there ? (uint64_t)status.st_size : 0;
        if (arguments->option[JSON])
                return print_json(&info, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;
        print_text(&info);
        return OUTCOME_OK;
}

const struct command command_image_info = {
        .name = "info",
        .summary = "Show what the header of an image says; needs no key",
        .details = "Nothing of it is proved: 'wlagent image verify' does that.",
        .operand = OPERAND_FILE,
        .options = options,
        .run = run,
};
