/* SPDX-License-Identifier: Apache-2.0 */
#include "volumed_double_image.h"

#include <errno.h>
#include <fcntl.h>
#include <libcryptsetup.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/header_writer.h"
#include "image/isecl_convert.h"
#include "image/volume_key.h"
#include "volume/image_digest.h"
#include "volume/nova_disk.h"
#include "volume/nova_path.h"

int double_check_key(int header_fd, const struct volumed_request *wire, struct wla_error *err) {
        struct crypt_device *device = NULL;
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", header_fd);
        int r = crypt_init(&device, path);
        if (r == 0)
                r = crypt_load(device, CRYPT_LUKS2, NULL);
        if (r == 0)
                r = crypt_volume_key_verify(device, (const char *)wire->key, wire->key_size);
        crypt_free(device);
        if (r < 0)
                return wla_fail(err, WLA_E_DENIED, "the key does not open the volume");
        return 0;
}

int double_write_layer(const struct volume_name *disk, const struct volume_request *request,
                       const struct volumed_request *wire, const char *path,
                       struct wla_error *err) {
        struct layer_token token = {
                .vm = disk->uuid,
                .image = request->layer.image,
                .wrapped = request->layer.wrapped,
        };
        _cleanup_buf_ struct buf json = BUF_WITH_LIMIT(65536);
        _cleanup_buf_ struct buf header = BUF_WITH_LIMIT(IMAGE_HEADER_SIZE);
        _cleanup_secret_ struct wla_secret *key = NULL;
        struct header_content content = {.token = &json};

        memcpy(token.target, disk->target, sizeof(token.target));
        if (wla_secret_new(VOLUME_KEY_SIZE, &key, err) < 0)
                return -1;
        memcpy(wla_secret_fill(key), wire->key, VOLUME_KEY_SIZE);
        content.volume_key = key;
        if (uuid_generate(&content.uuid, err) < 0 || layer_token_write(&token, &json, err) < 0 ||
            header_write(&content, &header, err) < 0)
                return -1;
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, header.data, header.size) != (ssize_t)header.size || close(fd) < 0)
                return wla_fail_errno(err, errno, "writing a layer");
        return 0;
}

int double_find_header(const char *path, struct wla_error *err) {
        if (access(path, F_OK) == 0)
                return 0;
        return wla_fail(err, WLA_E_INPUT, "the image has no header");
}

/* A directory takes no place but an empty one's, so what is there goes first. */
static void put(const char *directory, const char *name, const char *to) {
        char from[4096];
        char old[4096];

        (void)snprintf(from, sizeof(from), "%s/%s", directory, name);
        (void)snprintf(old, sizeof(old), "%s/%s.old", directory, name);
        if (access(from, F_OK) < 0)
                return;
        (void)rename(to, old);
        (void)rename(from, to);
}

int double_replace(const char *path, const char *directory, struct wla_error *err) {
        char converted[4096];

        (void)snprintf(converted, sizeof(converted), "%s/converted", directory);
        put(directory, "next", path);
        put(directory, "converted.next", converted);
        return wla_fail(err, WLA_E_BUSY, "the image has just been replaced or removed");
}

int double_isecl_find(const char *path, const char *directory, struct double_isecl *ret,
                      struct wla_error *err) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint8_t head[16];
        struct isecl_image image;

        *ret = (struct double_isecl){0};
        if (fd < 0 || read(fd, head, sizeof(head)) != (ssize_t)sizeof(head) ||
            !isecl_image_claimed(head, sizeof(head)))
                return 0;
        if (isecl_image_read(fd, &image, err) < 0)
                return -1;
        ret->found = true;
        ret->identity = image.identity;
        (void)snprintf(ret->image, sizeof(ret->image), "%s/%s.img", directory, image.identity.text);
        (void)snprintf(ret->header, sizeof(ret->header), "%s/%s.img.header", directory,
                       image.identity.text);
        ret->converted = access(ret->image, F_OK) == 0;
        return 0;
}

int double_isecl_convert(const char *path, const char *directory, const struct key_id *key_id,
                         const struct wla_secret *key, struct wla_error *err) {
        (void)mkdir(directory, 0700);
        _cleanup_close_ int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct isecl_image image;
        struct isecl_conversion what = {
                .image_fd = fd,
                .image = &image,
                .key = key,
                .key_id = key_id,
                .directory_fd = directory_fd,
        };

        if (directory_fd < 0 || fd < 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no such file");
        return isecl_image_read(fd, &image, err) < 0 ? -1 : isecl_convert(&what, err);
}

int double_rebase(const struct volume_request *request, struct wla_error *err) {
        char mapping[sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE] = VOLUME_DEVICE_ROOT;
        char base[VOLUMED_PATH_SIZE];
        const struct nova_disk_backing backing = {
                .base = base,
                .mapping = mapping,
                .to_mapping = request->nova.to_mapping,
                .content = request->nova.content,
                .virtual_size = request->nova.virtual_size,
        };
        bool changed = false;

        volume_name_write(&request->name, mapping + strlen(VOLUME_DEVICE_ROOT));
        if (nova_base_path(request->path, &request->nova.image, base, NULL, err) < 0)
                return -1;
        _cleanup_close_ int fd = open(request->path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "the disk does not exist");
        return nova_disk_rebase(fd, &backing, &changed, err);
}

int double_digest(const char *path, const char *directory, struct volumed_reply *reply,
                  struct wla_error *err) {
        struct image_digest digest = IMAGE_DIGEST_NONE;

        (void)mkdir(directory, 0700);
        _cleanup_close_ int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (directory_fd < 0 || fd < 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "there is no such file");
        int outcome = image_digest_begin(directory_fd, fd, &digest, err);
        while (outcome == 0 && !digest.ready)
                outcome = image_digest_advance(&digest, 100 * 1000, err);
        reply->size = digest.state.size;
        reply->digested = digest.done;
        reply->has_digest = digest.ready;
        memcpy(reply->digest, digest.bytes, sizeof(reply->digest));
        image_digest_close(&digest);
        return outcome;
}

const char *double_object(const struct volume_request *request) {
        static char text[64];

        if (request->path[0])
                return request->path;
        if (request->secret.text[0])
                return request->secret.text;
        if (request->operation != VOLUMED_OPEN_LAYER && request->operation != VOLUMED_CREATE_LAYER)
                return request->vm.text;
        (void)snprintf(text, sizeof(text), "%ju %s", (uintmax_t)request->layer.virtual_size,
                       request->layer.keeps_places ? "keeps" : "frees");
        return text;
}
