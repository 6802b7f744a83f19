/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/volumed_word.h"

#include <openssl/crypto.h>
#include <string.h>

#include "volume/client.h"

#define ANSWER_USEC (UINT64_C(5) * USEC_PER_SEC)

static void session_freep(struct volume_session **session) {
        *session = volume_session_free(*session);
}

int volumed_word_of(const struct config *config, const struct protected_disk *disk,
                    struct wla_error *err) {
        __attribute__((cleanup(session_freep))) struct volume_session *session = NULL;
        struct volumed_request request = {.operation = VOLUMED_INSPECT_IMAGE};
        const struct volume_call call = {.request = &request, .header_fd = -1};
        struct wla_error ignored = {0};
        struct volumed_reply reply;
        struct deadline deadline;

        memcpy(request.path, disk->image, sizeof(request.path));
        memcpy(request.header, disk->header, sizeof(request.header));
        deadline_init(&deadline, clock_now_usec() + ANSWER_USEC);
        /* Requests are made in locked memory. */
        if ((!CRYPTO_secure_malloc_initialized() && wla_secret_heap_init(true, &ignored) < 0) ||
            volume_session_open(config->volumes.socket, &deadline, &session, &ignored) < 0 ||
            volume_session_call(session, &call, &deadline, &reply, err) == 0 ||
            err->code == WLA_E_UNAVAILABLE || err->code == WLA_E_TIMEOUT ||
            err->code == WLA_E_BUSY) {
                *err = (struct wla_error){0};
                return 0;
        }
        return -1;
}
