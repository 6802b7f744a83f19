/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/layer_remove.h"

#include <string.h>

int layer_remove(const char *socket, const struct volume_name *name,
                 const struct deadline *deadline, struct wla_error *err) {
        struct volumed_request request = {.operation = VOLUMED_REMOVE_LAYER};
        const struct volume_call call = {.request = &request, .header_fd = -1};
        struct volume_session *session;
        struct volumed_reply reply;

        if (name->kind == VOLUME_IMAGE) {
                request.operation = VOLUMED_REMOVE_CONVERSION;
                volume_name_write(name, request.name);
        } else {
                memcpy(request.vm, name->uuid.text, sizeof(request.vm));
                memcpy(request.target, name->target, sizeof(request.target));
        }
        if (volume_session_open(socket, deadline, &session, err) < 0)
                return -1;
        int outcome = volume_session_call(session, &call, deadline, &reply, err);
        volume_session_free(session);
        return outcome;
}
