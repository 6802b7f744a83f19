/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* CONTROL_VOLUME_PREPARE and CONTROL_VOLUME_ADOPT: what has to be done once with a volume in a format that
 * others made, and may take longer than the start of a VM can wait.
 *
 *   prepare   converts an ISecL-VMC image, so that starts find it converted
 *   adopt     encrypts a LUKS2 volume again that opens without a key
 *
 * Both inspect the volume first and ask for the key only when there is something to do.  One volume is
 * worked on at a time, the others wait for their turn.
 *
 * Ownership: the service must outlive all its calls.
 * Threads:   the loop thread; the work is done on a worker of its own, made when it is first needed.
 * Failure:   through done; each call ends with one event in the log.  A call that is cancelled is finished
 *            by volumed, or leaves nothing behind.
 */

#include <systemd/sd-event.h>

#include "control/control_connection.h"
#include "key/access.h"

struct volume_work;

struct volume_work_options {
        sd_event *event;
        struct key_access *access;
        const char *volume_socket; /* of volumed; copied */
};

int volume_work_new(const struct volume_work_options *options, struct volume_work **ret,
                    struct wla_error *err) _must_check_;

/* All calls must have been cancelled or done. */
struct volume_work *volume_work_free(struct volume_work *work);

/* Lives as long as work does. */
const struct control_service *volume_work_service(const struct volume_work *work);
