/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One session of the double of wlagent-volumed: what it knows, what it is asked, and what is made to go wrong with it. */

#include <sys/types.h>

#include "image/luks2_header.h"
#include "volume/request.h"

extern struct double_session {
        int fd;
        enum session_state state;
        struct luks2_header header;
        int header_fd;
        struct volume_name name; /* of the layer */
        char lease[4096];        /* path; "" without one */
        bool late;               /* what is asked is done, and not answered */
        bool lost;
        bool slow;
        char path[VOLUMED_PATH_SIZE]; /* of the image */
} double_session;

/* As in DIRECTORY/order and DIRECTORY/fault. */
extern const char *const double_operation_names[_VOLUMED_OPERATION_MAX];

/* Does what is asked; reply has the operation. */
int double_serve(const struct volume_request *request, const struct volumed_request *wire,
                 struct volumed_reply *reply, struct wla_error *err) _must_check_;

/* The process ends when nobody listens. */
void double_send_reply(struct volumed_reply *reply, int attached_fd);

/* Before it is served: what DIRECTORY/fault says of this operation.  With a count the fault passes. */
int double_inject(const char *operation, struct wla_error *err) _must_check_;

/* Until the other side goes; then the process ends. */
__attribute__((noreturn)) void double_hang(void);
