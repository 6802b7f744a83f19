/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/session.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "volume/packet.h"
#include "volume/receive_request.h"
#include "volume/watchdog.h"

/* Work on whole files takes as long as they are large, and touches no device; libvirt has a limit of its
 * own. */
static bool takes_long(enum volumed_operation operation) {
        return operation == VOLUMED_CONVERT_IMAGE || operation == VOLUMED_ADOPT_VOLUME ||
               operation == VOLUMED_SET_SECRET || operation == VOLUMED_CLEAR_SECRET;
}

/* The other side reads what it has asked for. */
#define SEND_USEC (10 * USEC_PER_SEC)

typedef int (*session_step_function)(struct session *session, struct session_step *step,
                                     struct wla_error *err);

static const session_step_function steps[_VOLUMED_OPERATION_MAX] = {
        [VOLUMED_INSPECT_IMAGE] = session_inspect_image,
        [VOLUMED_INSPECT_LAYER] = session_inspect_layer,
        [VOLUMED_OPEN_IMAGE] = session_open_image,
        [VOLUMED_OPEN_DIRECT] = session_open_direct,
        [VOLUMED_OPEN_LAYER] = session_open_layer,
        [VOLUMED_CREATE_LAYER] = session_create_layer,
        [VOLUMED_LIST] = session_list,
        [VOLUMED_LIST_LAYERS] = session_list_layers,
        [VOLUMED_CLOSE] = session_close,
        [VOLUMED_REMOVE_LAYER] = session_remove_layer,
        [VOLUMED_REBASE] = session_rebase,
        [VOLUMED_CONVERT_IMAGE] = session_convert_image,
        [VOLUMED_ADOPT_VOLUME] = session_adopt_volume,
        [VOLUMED_LIST_CONVERSIONS] = session_list_conversions,
        [VOLUMED_REMOVE_CONVERSION] = session_remove_conversion,
        [VOLUMED_DIGEST_IMAGE] = session_digest_image,
        [VOLUMED_SET_SECRET] = session_set_secret,
        [VOLUMED_CLEAR_SECRET] = session_clear_secret,
};

int session_send(struct session *session, const struct volumed_reply *reply, int attached_fd,
                 struct wla_error *err) {
        struct deadline deadline;

        deadline_init(&deadline, clock_now_usec() + SEND_USEC);
        return packet_send(session->fd, reply, sizeof(*reply), attached_fd, &deadline, err);
}

void session_hold(struct session *session, const struct mapping_plan *plan, struct mapping *mapping,
                  struct session_step *step) {
        session->mapping = *mapping;
        session->state = SESSION_OPEN;
        *mapping = MAPPING_NONE;

        volume_name_write(&plan->name, step->reply->name);
        step->reply->device_major = session->mapping.major;
        step->reply->device_minor = session->mapping.minor;
        step->reply->writable = plan->writable;
        step->reply->size = plan->data_size;
        log_line(LOG_INFO, "opened %s", step->reply->name);
}

static int take_step(struct session *session, struct session_step *step, struct wla_error *err) {
        enum volumed_operation operation = step->request->operation;

        if (!session_permits(session->state, operation))
                return wla_fail(err, WLA_E_INPUT, "operation %d is not permitted here",
                                (int)operation);
        if (step->attached_fd >= 0 && operation != VOLUMED_INSPECT_IMAGE)
                return wla_fail(err, WLA_E_INPUT, "operation %d takes no file", (int)operation);
        if (!steps[operation])
                return wla_fail(err, WLA_E_UNSUPPORTED, "operation %d is not known here",
                                (int)operation);

        if (takes_long(operation))
                return steps[operation](session, step, err);
        /* wlagentd waits no longer than this for all that a start needs; so the reason reaches it before it
         * gives up. */
        uint64_t patience_usec = session->config->libvirt.launch_timeout_usec;
        if (watchdog_start(session->fd, operation, patience_usec / 4 * 3, patience_usec / 8 * 7,
                           err) < 0)
                return -1;
        int outcome = steps[operation](session, step, err);
        watchdog_stop();
        return outcome;
}

/* The reason goes to the other side, which logs it; here it is for whoever looks for it. */
static void refuse(struct session *session, struct volumed_reply *reply,
                   const struct wla_error *cause) {
        const struct volumed_reply empty = {
                .magic = VOLUMED_MAGIC,
                .operation = reply->operation,
                .code = (uint16_t)cause->code,
        };
        struct wla_error ignored = {0};

        *reply = empty;
        wla_error_format(cause, reply->text, sizeof(reply->text));
        log_line(LOG_DEBUG, "refused operation %u: %s", reply->operation, reply->text);
        if (session_send(session, reply, -1, &ignored) < 0)
                log_line(LOG_DEBUG, "nobody heard it: %s", wla_error_text(&ignored));
}

/* One request and its reply.  -1 ends the session. */
static int serve_one(struct session *session) {
        _cleanup_secret_ struct wla_secret *key = NULL;
        _cleanup_close_ int attached_fd = -1;
        struct volume_request request = {0};
        struct volumed_reply reply = {.magic = VOLUMED_MAGIC};
        struct wla_error err = {0};

        if (receive_request(session->fd, &request, &key, &attached_fd, &err) < 0) {
                if (err.code != WLA_E_UNAVAILABLE)
                        refuse(session, &reply, &err);
                return -1;
        }

        struct session_step step = {
                .request = &request,
                .key = key,
                .attached_fd = attached_fd,
                .reply = &reply,
                .reply_fd = -1,
        };
        reply.operation = (uint16_t)request.operation;
        if (take_step(session, &step, &err) < 0) {
                refuse(session, &reply, &err);
                return -1;
        }
        return session_send(session, &reply, step.reply_fd, &err);
}

void session_run(int fd, const struct config *config) {
        struct session session = {
                .fd = fd,
                .config = config,
                .image = IMAGE_FILE_NONE,
                .source_fd = -1,
                .digest = IMAGE_DIGEST_NONE,
                .store = LAYER_STORE_NONE,
                .layer = LAYER_FILES_NONE,
                .sealed = SEALED_HEADER_NONE,
                .mapping = MAPPING_NONE,
                .keeper = SECRET_KEEPER_NONE,
        };

        while (serve_one(&session) == 0)
                ;

        session_finish_digest(&session);
        secret_keeper_close(&session.keeper);
        mapping_close(&session.mapping);
        sealed_header_clear(&session.sealed);
        layer_files_close(&session.layer);
        layer_store_close(&session.store);
        image_digest_close(&session.digest);
        file_closep(&session.source_fd);
        image_file_close(&session.image);
        file_closep(&session.fd);
}
