/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/file.h"
#include "base/log.h"
#include "volume/nova_disk.h"
#include "volume/nova_path.h"
#include "volume/session.h"

int session_rebase(struct session *session, struct session_step *step, struct wla_error *err) {
        const struct volume_request *request = step->request;
        char mapping[sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE];
        char name[VOLUME_NAME_SIZE];
        char base[VOLUMED_PATH_SIZE];
        _cleanup_close_ int fd = -1;
        bool changed = false;

        volume_name_write(&request->name, name);
        (void)snprintf(mapping, sizeof(mapping), VOLUME_DEVICE_ROOT "%s", name);
        const struct nova_disk_backing backing = {
                .base = base,
                .mapping = mapping,
                .to_mapping = request->nova.to_mapping,
                .content = request->nova.content,
                .virtual_size = request->nova.virtual_size,
        };

        if (nova_base_path(request->path, &request->nova.image, base, NULL, err) < 0)
                return -1;
        if (image_file_open_writable(&session->config->volumes.image_roots, request->path, &fd,
                                     err) < 0 ||
            nova_disk_rebase(fd, &backing, &changed, err) < 0)
                return wla_wrap(err, "%s", request->path);
        if (changed)
                log_line(LOG_INFO, "%s: its backing file is %s now", request->path,
                         backing.to_mapping ? mapping : base);
        return 0;
}
