/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Signed reports that WLS has not taken yet: StateDirectory/reports/START-VM-IMAGE.json, each as it will be
 * posted.  START is when the VM started, so that a report that is made twice has one name.
 *
 * Files of other names are nobody's business here and left alone.  One of ours that is not what its name
 * says is set aside under another name, for people to look at.
 *
 * Ownership: the directory is opened for each operation and kept by nobody.
 * Threads:   any.
 * Failure:   WLA_E_NOT_FOUND, _INPUT, _SYSTEM, _BUSY without memory.  What is written is whole and durable,
 *            or not there.
 */

#include "trust_report/signed_report.h"

struct report_name {
        uint64_t started_sec; /* since 1970 */
        struct uuid vm;
        struct uuid image;
};

bool report_name_equal(const struct report_name *a, const struct report_name *b);

int report_store_write(const char *state_directory, const struct report_name *name,
                       const struct buf *report, struct wla_error *err) _must_check_;

/* WLA_E_INPUT: it was set aside. */
int report_store_read(const char *state_directory, const struct report_name *name, struct buf *ret,
                      struct wla_error *err) _must_check_;

/* One that is not there is no failure. */
int report_store_remove(const char *state_directory, const struct report_name *name,
                        struct wla_error *err) _must_check_;

/* In any order.  What writing has left unfinished is removed.  found: 0, or -1 to end the listing. */
int report_store_list(const char *state_directory,
                      int (*found)(void *userdata, const struct report_name *name,
                                   struct wla_error *err),
                      void *userdata, struct wla_error *err) _must_check_;
