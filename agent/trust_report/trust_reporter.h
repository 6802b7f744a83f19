/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Trust reports of VMs, from the facts to WLS: made once a VM and image, signed by the TPM, kept on the disk
 * until WLS has them.  No VM waits for any of it.
 *
 *   report_maker.h   facts become a signed report on the disk
 *   report_queue.h   it is posted until it is taken
 *
 * Both have a worker of their own, so that neither a WLS nor a TPM that hangs takes one from requests for
 * keys.
 *
 * Ownership: what the options name is borrowed.
 * Threads:   the loop thread.
 * Failure:   trust_reporter_new() as pool.h says; afterwards none, but lines in the journal.
 */

#include "trust_report/report_queue.h"

struct trust_reporter;

struct trust_reporter_options {
        sd_event *event;
        const char *state_directory;
        struct uuid host; /* the hardware UUID that HVS knows */
        struct wls_service wls;
        struct report_signer signer;
};

int trust_reporter_new(const struct trust_reporter_options *options, struct trust_reporter **ret,
                       struct wla_error *err) _must_check_;

/* Waits for nobody: what is under way is given up, and what is on the disk is posted in the next life.
 * Listeners may still be told. */
struct trust_reporter *trust_reporter_free(struct trust_reporter *reporter);

/* facts->host is filled in here.  A report that was made before and is waiting is not made again. */
void trust_reporter_add(struct trust_reporter *reporter, const struct trust_facts *facts,
                        const struct report_listener *listener);

/* After a reload; reporter may be NULL, here and below. */
void trust_reporter_resume(struct trust_reporter *reporter);

/* Signed ones that wait for WLS. */
size_t trust_reporter_waiting(const struct trust_reporter *reporter);

/* {"state", "unsigned", "waiting", "posted", "refused", "given_up", "problem"}: without a reporter the state is
 * "off". */
int trust_reporter_write_json(const struct trust_reporter *reporter, struct buf *json,
                              struct wla_error *err) _must_check_;
