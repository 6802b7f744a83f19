/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Registration of a host's key with Intel SecL's HVS (3.0 to 5.1): it gets what the attestation key says of the
 * key, and answers with a certificate.
 *
 *   POST BASE/rpc/certify-host-binding-key, or certify-host-signing-key
 *   Authorization: Bearer TOKEN; Accept and Content-Type exactly application/json
 *   {"public_key_modulus", "tpm_certify_key", "tpm_certify_key_signature", "aik_der_certificate", "name_digest": base64,
 *    "tpm_version": "2.0", "operating_system": "Linux"}; other members are refused
 *   201 {"binding_key_der_certificate": base64}, or signing_key_der_certificate
 *
 * The certificate counts only when it is for this very key with the exponent 65537: key brokers wrap to whatever
 * it holds.
 *
 * Ownership: all is borrowed for the call.
 * Threads:   one.
 * Failure:   WLA_E_DENIED 401, _INPUT what HVS takes for wrong or answers wrongly, _UNAVAILABLE, _TIMEOUT; the text
 *            tells what was refused, the hint what to look at.
 */

#include "http/http.h"
#include "tpm/host_key.h"

#define HVS_CERTIFICATE_MAX 8192u

struct hvs_certify {
        struct http_client *http;
        const char *url;                /* base URL, without '/' at its end */
        const struct wla_secret *token; /* without a zero byte */
        const struct host_key *key;
        struct wla_bytes aik; /* DER of the attestation key's certificate */
        const struct deadline *deadline;
};

/* Appends one PEM block. */
int hvs_certify(const struct hvs_certify *asked, struct buf *ret_pem,
                struct wla_error *err) _must_check_;
