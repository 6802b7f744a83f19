/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What this host says of a VM that runs: which image, under which flavor, and whether both agree.
 *
 * Form:    Intel SecL 4.2, "instance trust report" with the policy "Intel VM Policy": compact JSON with the
 *          members in the order of that release's encoder, as others compare and verify its bytes.  The rule
 *          FlavorIntegrityMatches is left out where flavors' signatures are not looked at.
 * Truth:   every member is a fact of this host.  A rule that is not met has its fault, and then the whole
 *          report is not trusted.
 * Threads: pure.
 * Failure: WLA_E_BUSY without memory.
 */

#include "base/buf.h"
#include "base/uuid.h"

#define TRUST_REPORT_MAX 4096u

enum signature_check {
        SIGNATURE_SKIPPED, /* the configuration says that nobody looks at it */
        SIGNATURE_VALID,
        SIGNATURE_INVALID,
};

struct trust_facts {
        struct uuid vm;
        struct uuid host; /* the hardware UUID that HVS knows */
        struct uuid image;
        char flavor[UUID_TEXT_SIZE]; /* its id, in the case in which it was signed */
        bool image_encrypted;        /* as it is on the disk of this host */
        bool encryption_required;    /* says the flavor */
        enum signature_check signature;
        uint64_t
                started_sec; /* since when the VM runs, seconds since 1970; not a part of the report */
};

/* Whether every rule is met. */
bool trust_report_trusted(const struct trust_facts *facts);

int trust_report_write(const struct trust_facts *facts, struct buf *to,
                       struct wla_error *err) _must_check_;
