/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What Intel SecL's Trust Agent has on this host: the certificate of its attestation key (AIK), the secret of that
 * key where it has one, and its user.
 *
 * Its configuration is where TRUSTAGENT_CONFIGURATION says, or else in /etc/trustagent (5.x) or
 * /opt/trustagent/configuration (up to 4.2), whichever there is.
 *
 * Threads: one.
 * Failure: WLA_E_NOT_FOUND what is missing, with what the Trust Agent should have done; _INPUT, _SYSTEM.
 */

#include <sys/types.h>

#include "base/buf.h"
#include "base/secret.h"
#include "cli/answers.h"

#define TRUST_AGENT_FILE_MAX 65536u

/* Appends the DER of aik.pem's first certificate. */
int trust_agent_read_aik(const struct answers *answers, struct buf *ret_der,
                         struct wla_error *err) _must_check_;

/* AIK_SECRET, or the text of aiksecretkey, which versions 3.x write; *ret is NULL when there is neither. */
int trust_agent_read_aik_secret(const struct answers *answers, struct wla_secret **ret,
                                struct wla_error *err) _must_check_;

/* TRUSTAGENT_USERNAME, or tagent. */
int trust_agent_find_user(const struct answers *answers, uid_t *ret_uid, gid_t *ret_gid,
                          struct wla_error *err) _must_check_;
