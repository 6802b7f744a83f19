/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/disk_secret.h"

#include <string.h>

static int call(struct volume_session *session, enum volumed_operation operation,
                const struct uuid *secret, const struct wla_secret *key,
                const struct deadline *deadline, struct wla_error *err) {
        struct volumed_request request = {.operation = (uint16_t)operation};
        const struct volume_call call = {.request = &request, .key = key, .header_fd = -1};
        struct volumed_reply reply;

        memcpy(request.secret, secret->text, sizeof(request.secret));
        return volume_session_call(session, &call, deadline, &reply, err);
}

int disk_secret_set(const struct uuid *secret, const struct wla_secret *key,
                    const struct launch_place *place, struct volume_session **ret,
                    struct wla_error *err) {
        if (volume_session_open(place->socket, place->deadline, ret, err) < 0)
                return -1;
        return call(*ret, VOLUMED_SET_SECRET, secret, key, place->deadline, err);
}

int disk_secret_clear(const struct uuid *secret, const char *socket,
                      const struct deadline *deadline, struct wla_error *err) {
        struct volume_session *session = NULL;

        if (volume_session_open(socket, deadline, &session, err) < 0)
                return -1;
        int outcome = call(session, VOLUMED_CLEAR_SECRET, secret, NULL, deadline, err);
        volume_session_free(session);
        return outcome;
}
