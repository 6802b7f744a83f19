/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The client's half of wlagent/control.h: one request, one reply, one connection.
 *
 * Ownership: request is lent; the reply is appended to a buffer of the caller.
 * Threads:   any; the call blocks, and never longer than its timeout.
 * Failure:   WLA_E_UNAVAILABLE wlagentd does not run or hangs up, WLA_E_DENIED the socket may not be
 *            used, WLA_E_TIMEOUT, WLA_E_INPUT what answers is no wlagentd; and what wlagentd itself
 *            answers, code and text.
 */

#include "base/buf.h"
#include "base/secret.h"
#include "wlagent/control.h"

struct control_call {
        const char *socket; /* its path */
        enum control_command command;
        const struct buf *request; /* NULL: empty */
        uint64_t timeout_usec;
};

#define CONTROL_CALL_USEC (UINT64_C(10) * 1000 * 1000)

int control_call(const struct control_call *call, struct buf *reply,
                 struct wla_error *err) _must_check_;

/* The same in locked memory, for what carries keys.  call->request: NULL; the answer has to be as long as
 * reply. */
int control_call_secret(const struct control_call *call, const struct wla_secret *request,
                        struct wla_secret *reply, struct wla_error *err) _must_check_;
