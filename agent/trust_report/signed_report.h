/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A trust report as it is posted: its bytes, signed by this host's signing key, with the certificate that
 * HVS has issued for that key.
 *
 *   {"data":"BASE64","hash_alg":"SHA-256","cert":"PEM","signature":"BASE64"}
 *
 * cert is the whole text of signingkey.pem; signature is RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2) with
 * SHA-256 over the decoded data, 256 bytes.  Nothing in it is secret.
 *
 * Threads: any.
 * Failure: WLA_E_NOT_FOUND without a signing key or its certificate; WLA_E_INPUT for a certificate that is
 *          none or not of this key, and for a text that is no signed report; as report_signer says.
 * Source:  Intel SecL 4.2, POST /reports of WLS.
 */

#include "base/clock.h"
#include "trust_report/trust_report.h"

#define SIGNED_REPORT_MAX      (16u * 1024u) /* WLS repeats it in its answer, see WLS_ANSWER_MAX */
#define REPORT_CERTIFICATE_MAX (8u * 1024u)
#define REPORT_DIGEST_SIZE     32u
#define REPORT_SIGNATURE_SIZE  256u

struct report_signer {
        const char *certificate; /* path of the PEM file; copied by who keeps a signer */
        /* Returns before the deadline. */
        int (*sign)(void *self, const uint8_t digest[REPORT_DIGEST_SIZE],
                    const struct deadline *deadline, uint8_t ret[REPORT_SIGNATURE_SIZE],
                    struct wla_error *err);
        void *self;
};

/* Appends it.  A signature that the certificate does not confirm is not handed out. */
int signed_report_make(const struct report_signer *signer, const struct trust_facts *facts,
                       const struct deadline *deadline, struct buf *to,
                       struct wla_error *err) _must_check_;

/* What it is about, of a text that has exactly this form; the signature is not looked at. */
struct signed_report {
        struct uuid vm;
        struct uuid image;
};
int signed_report_parse(const char *text, size_t size, struct signed_report *ret,
                        struct wla_error *err) _must_check_;
