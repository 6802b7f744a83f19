/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Certificates of certification authorities, as Intel SecL's CMS hands them out: PEM (RFC 7468), one or more.
 *
 * Pure functions.
 * Failure: WLA_E_INPUT anything in it is no CERTIFICATE, or one that is damaged, no CA's (RFC 5280, section 4.2.1.9)
 *          or not valid today; the text says the how many-th.
 */

#include "base/buf.h"
#include "base/secret.h"

/* SHA-1 of the first one's DER, as Intel SecL names files by it. */
#define CA_FILE_NAME_SIZE sizeof("012345678.pem")

struct ca_certificates {
        size_t count;
        char file_name[CA_FILE_NAME_SIZE];
        char subject[160]; /* of the first, on one line */
        struct buf pem;    /* only the blocks */
};

#define CA_CERTIFICATES ((struct ca_certificates){.pem.limit = 262144})

int ca_certificates_parse(struct wla_bytes text, struct ca_certificates *ret,
                          struct wla_error *err) _must_check_;

static inline void ca_certificates_clear(struct ca_certificates *certificates) {
        buf_clear(&certificates->pem);
}

#define _cleanup_ca_certificates_ __attribute__((cleanup(ca_certificates_clear)))
