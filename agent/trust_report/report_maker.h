/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Makes signed reports of facts, one after the other, and puts them on the disk.
 *
 * What cannot be signed now, because the TPM is busy, away or locked out, is tried again.  Without a signing
 * key no report is made: that is told once.
 *
 * Ownership: event, pool, paths and signer are borrowed.
 * Threads:   the loop thread; signing and writing are done on the pool.
 * Failure:   none to the caller: what is lost is told in the journal.
 */

#include <systemd/sd-event.h>

#include "loop/pool.h"
#include "trust_report/report_store.h"

struct report_maker;

/* Whom to tell that a report will not be lost any more, so that it need not be made again; NULL: nobody. */
struct report_listener {
        void (*kept)(void *userdata, const struct report_name *name);
        void *userdata;
};

struct made_report {
        struct report_name name;
        struct report_listener listener;
        struct buf body;
        bool stored;
        struct wla_error problem; /* why not */
};

struct report_maker_options {
        sd_event *event;
        struct pool *pool;
        const char *state_directory;
        struct report_signer signer;
        void (*made)(void *userdata, struct made_report *made); /* may take the body */
        void *userdata;
};

int report_maker_new(const struct report_maker_options *options, struct report_maker **ret,
                     struct wla_error *err) _must_check_;

/* The job under way is asked to end; it ends when the pool is freed, which is before this. */
void report_maker_stop(struct report_maker *maker);
struct report_maker *report_maker_free(struct report_maker *maker);

void report_maker_add(struct report_maker *maker, const struct trust_facts *facts,
                      const struct report_listener *listener);

/* Whatever has kept it from signing may be mended. */
void report_maker_resume(struct report_maker *maker);

/* Whether a report of that name is to be made. */
bool report_maker_has(const struct report_maker *maker, const struct report_name *name);

size_t report_maker_count(const struct report_maker *maker);

/* Of the last attempt that failed since one succeeded; "" for none. */
const char *report_maker_problem(const struct report_maker *maker);
