/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* wlagentd's half of volume/message.h.
 *
 * Ownership: a session is the caller's; freeing it ends the lease.  A reply's memfd goes to *ret_header.
 * Threads:   one session on one thread at a time; the calls block, never beyond the deadline, and return
 *            soon after another thread has cancelled it.
 * Failure:   WLA_E_UNAVAILABLE volumed does not run or hangs up, WLA_E_TIMEOUT, WLA_E_INPUT for replies
 *            that break the protocol; and what volumed answers, code and text.
 */

#include "base/clock.h"
#include "base/secret.h"
#include "volume/message.h"

struct volume_session;

int volume_session_open(const char *socket, const struct deadline *deadline,
                        struct volume_session **ret, struct wla_error *err) _must_check_;
struct volume_session *volume_session_free(struct volume_session *session);

/* For poll(2) between calls: readable when volumed has ended the session.  The session's. */
int volume_session_fd(const struct volume_session *session);

/* One request and its reply.  key: NULL when the operation takes none.  header_fd: -1, or a file whose
 * content is the header (INSPECT_IMAGE).  ret_header: NULL, or -1 on return when there is none. */
struct volume_call {
        const struct volumed_request *request; /* without a key */
        const struct wla_secret *key;
        int header_fd;
        int *ret_header;
};

int volume_session_call(struct volume_session *session, const struct volume_call *call,
                        const struct deadline *deadline, struct volumed_reply *ret,
                        struct wla_error *err) _must_check_;

/* The next reply of LIST and LIST_LAYERS; name is empty at the end. */
int volume_session_next(struct volume_session *session, const struct deadline *deadline,
                        struct volumed_reply *ret, struct wla_error *err) _must_check_;
