/* SPDX-License-Identifier: Apache-2.0 */
#include "volumed_double_image.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "volume/image_digest.h"
#include "volume/nova_disk.h"
#include "volume/nova_path.h"

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
