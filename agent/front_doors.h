/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The two sockets of the daemon: which protocol speaks on which, and who may come in.
 *
 * Ownership: services, handlers, configuration and event loop are borrowed.
 * Threads:   the loop thread.
 */

#include <systemd/sd-event.h>

#include "config/config.h"
#include "control/control_connection.h"
#include "keyprovider/service.h"

struct front_doors;

struct front_doors_options {
        sd_event *event;
        struct keyprovider_service *keyprovider;
        struct control_handlers control; /* copied */
        void (*closed)(void *userdata);  /* a connection has ended */
        void *userdata;
};

int front_doors_open(const struct front_doors_options *options, const struct config *config,
                     struct front_doors **ret, struct wla_error *err) _must_check_;
struct front_doors *front_doors_free(struct front_doors *doors);

/* After a reload: users and limits; the sockets stay where they are. */
void front_doors_configure(struct front_doors *doors, const struct config *config);

/* Nobody new comes in; what is under way is finished. */
void front_doors_shutdown(struct front_doors *doors);

size_t front_doors_keyprovider_connections(const struct front_doors *doors);

/* Of both sockets. */
size_t front_doors_connections(const struct front_doors *doors);
