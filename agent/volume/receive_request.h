/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Takes the next request from the socket: the packet lands in locked memory, the key moves into a secret
 * of its own, and what is left is wiped.
 *
 * Ownership: key and attached file are the caller's.
 * Threads:   one at a time; blocks until a request arrives.
 * Failure:   WLA_E_UNAVAILABLE when the other side has hung up, WLA_E_INPUT, WLA_E_BUSY without locked
 *            memory, WLA_E_SYSTEM.
 */

#include "base/secret.h"
#include "volume/request.h"

/* *ret_key is NULL without a key, *ret_attached -1 without a file. */
int receive_request(int fd, struct volume_request *ret, struct wla_secret **ret_key,
                    int *ret_attached, struct wla_error *err) _must_check_;
