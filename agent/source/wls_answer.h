/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What Intel SecL's WLS answers to POST /keys (v4: status 200, v5: 201), and what its refusals mean, whatever
 * was asked for.
 *
 * Only an answer of the right status that holds a key of the right length is a key.  Everything else is a
 * refusal with its reason: WLS says with status 500 that the host is not trusted, with 401 that a token
 * has expired as well as that its user may not have keys, and v5 puts the errors of the services behind
 * it into the body.
 *
 * Pure.  Failure: WLA_E_DENIED, _NOT_FOUND, _UNAVAILABLE, _INPUT, with a hint for the operator; nothing of
 * an answer's body is quoted.
 */

#include "base/rsa_wrap.h"
#include "http/http.h"

enum wls_next {
        WLS_FINAL,     /* another try would end as this one */
        WLS_NEW_TOKEN, /* the token was refused */
        WLS_AT_RETURN, /* WLS is out of reach */
        WLS_LATER,     /* something behind WLS was not to be reached */
};

/* Of a status that is neither 200 nor 201. */
int wls_answer_refuse(const struct http_answer *answer, enum wls_next *ret_next,
                      struct wla_error *err) _must_check_;

/* Whether it is a refusal because HVS does not trust this host. */
bool wls_answer_says_untrusted(const struct http_answer *answer);

int wls_answer_read(const struct http_answer *answer, uint8_t ret[RSA_WRAPPED_SIZE],
                    enum wls_next *ret_next, struct wla_error *err) _must_check_;
