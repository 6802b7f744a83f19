/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How requests to a broker have ended, for wlagent status.
 *
 * A request counts once, with its tries.  It holds nothing of an answer but what became of it.
 * Threads: any.
 */

#include <stdbool.h>
#include <stdint.h>

#include "wlagent/error.h"

enum broker_trust {
        BROKER_TRUST_UNKNOWN, /* nobody has said */
        BROKER_TRUST_YES,     /* a key was handed out, which takes HVS's word for this host */
        BROKER_TRUST_NO,      /* HVS does not trust it */
};

struct broker_view {
        uint64_t requests[_WLA_CODE_MAX]; /* by how they ended; WLA_OK is 0 */
        uint64_t answered_sec;   /* since 1970, of the last that got an answer; 0: none yet */
        enum wla_code last;      /* how the last one ended, if requests[] has any */
        enum broker_trust trust; /* by the last that tells */
        uint64_t judged_sec;     /* of that one */
};

struct broker_record;

int broker_record_new(struct broker_record **ret, struct wla_error *err) _must_check_;
struct broker_record *broker_record_free(struct broker_record *record);

/* record may be NULL.  answered: by the broker itself, whatever it said. */
void broker_record_note(struct broker_record *record, enum wla_code code, bool answered,
                        enum broker_trust trust);

struct broker_view broker_record_view(struct broker_record *record);
