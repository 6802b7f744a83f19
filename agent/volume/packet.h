/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One packet on a SOCK_SEQPACKET socket, with at most one descriptor attached.
 *
 * Ownership: a received descriptor is the caller's, and close-on-exec; what else was attached is closed.
 * Threads:   one at a time on one socket; the calls block, until the deadline or, when that is NULL, for
 *            as long as it takes.
 * Failure:   WLA_E_UNAVAILABLE the peer has hung up, WLA_E_TIMEOUT, WLA_E_INPUT for a packet of another
 *            size or with several descriptors, WLA_E_SYSTEM.
 */

#include "base/clock.h"
#include "wlagent/error.h"

int packet_send(int fd, const void *data, size_t size, int attached_fd,
                const struct deadline *deadline, struct wla_error *err) _must_check_;

/* *ret_attached is -1 when nothing was attached. */
int packet_receive(int fd, void *data, size_t size, const struct deadline *deadline,
                   int *ret_attached, struct wla_error *err) _must_check_;
