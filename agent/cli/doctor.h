/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What "wlagent doctor" looks at: groups of checks, each in a file of its own, each of which reports
 * any number of findings.
 *
 * A check touches nothing: it only looks, and uses the binding key once on a value of its own.  VMs are
 * looked after where libvirt and its hook are, and where a VM is protected.
 * Threads: one.
 */

#include "cli/invocation.h"
#include "cli/json_writer.h"

enum finding {
        FINDING_OK,
        FINDING_WARNING, /* works, or may work, and somebody should know */
        FINDING_FAILURE, /* stands in the way */
};

struct doctor {
        struct invocation *invocation;
        const struct config *config;
        const char
                *root; /* stands before paths of the host that no option names; "" but in tests */
        bool json;
        bool online; /* services may be asked */
        struct json_writer writer;
        unsigned count[FINDING_FAILURE + 1];
};

/* check: a stable word for programs.  remedy: what to do, or NULL. */
void doctor_report(struct doctor *doctor, enum finding finding, const char *check,
                   const char *remedy, const char *format, ...) _printf_(5, 6);

/* The chain as text, the hint as remedy. */
void doctor_report_error(struct doctor *doctor, enum finding finding, const char *check,
                         const struct wla_error *err);

/* Whether this host is to have a key store and a binding key for it: with keys of Intel SecL's broker alone it needs
 * neither. */
bool doctor_needs_store(const struct doctor *doctor);

void doctor_check_tpm(struct doctor *doctor);
void doctor_check_memory(struct doctor *doctor);
void doctor_check_state(struct doctor *doctor);
void doctor_check_keys(struct doctor *doctor);
void doctor_check_daemon(struct doctor *doctor);
void doctor_check_ocicrypt(struct doctor *doctor);
void doctor_check_clients(struct doctor *doctor);
void doctor_check_libvirt(struct doctor *doctor);
void doctor_check_volumes(struct doctor *doctor);
void doctor_check_nova(struct doctor *doctor);
void doctor_check_wls(struct doctor *doctor);
