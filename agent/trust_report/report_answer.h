/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What Intel SecL's WLS, up to 4.2, answers to POST /reports, and what becomes of the report then.
 *
 * Status 201 and no other says that WLS has it.  Status 400 is about the report, everything else about WLS,
 * its user or the way there, which may be mended while the report waits.  WLS 5 has no such route.
 *
 * Pure.  Failure: WLA_E_DENIED, _NOT_FOUND, _UNAVAILABLE, _INPUT, with a hint for the operator; nothing of
 * an answer's body is quoted.
 */

#include "source/wls_call.h"

enum report_fate {
        REPORT_LATER, /* nobody answered, or nobody who could say: tried again soon, then less often */
        REPORT_TAKEN,
        REPORT_REFUSED,    /* this one is not taken, whenever it comes */
        REPORT_MUCH_LATER, /* somebody has to mend something first */
        REPORT_NO_ROUTE,   /* there is nobody at all who takes reports */
};

/* -1 for everything but REPORT_TAKEN. */
int report_answer_read(const struct http_answer *answer, enum report_fate *ret_fate,
                       enum wls_next *ret_next, struct wla_error *err) _must_check_;
