/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A change of one domain's persistent definition: read, edited, judged by the parser of wlagentd, and
 * given back to libvirt unless somebody else has changed it meanwhile.
 *
 * A dry run reads over a read-only connection and without the passwords, and gives nothing back.
 *
 * Ownership: all is the change's, until domain_change_done().
 * Threads:   one.
 * Failure:   as connection.h; WLA_E_UNSUPPORTED for a domain that cannot be changed; WLA_E_BUSY when
 *            somebody else was faster.
 */

#include "cli/json_writer.h"
#include "vm/domain.h"
#include "vm_admin/connection.h"
#include "vm_admin/definition.h"

struct domain_change {
        const char *uri; /* or NULL */
        bool dry_run;
        virConnectPtr connection;
        virDomainPtr domain;
        const char *name;
        struct definition definition; /* to be edited between begin and finish */
        struct buf read;              /* as libvirt gave it */
        struct buf before;            /* as the tree was written before the edit */
        struct buf after;
        bool active;    /* the domain runs, with the definition of its start */
        bool snapshots; /* there are some, with definitions of their own */
        bool changed;
};

#define DOMAIN_CHANGE(uri_, dry_run_)                  \
        ((struct domain_change){                       \
                .uri = (uri_),                         \
                .dry_run = (dry_run_),                 \
                .read.limit = DOMAIN_CHANGE_XML_MAX,   \
                .before.limit = DOMAIN_CHANGE_XML_MAX, \
                .after.limit = DOMAIN_CHANGE_XML_MAX,  \
        })

/* More than DOMAIN_XML_MAX, which what comes out has to be below. */
#define DOMAIN_CHANGE_XML_MAX (4u * DOMAIN_XML_MAX)

int domain_change_begin(struct domain_change *change, const char *name,
                        struct wla_error *err) _must_check_;

/* After the edit: sets changed, and hands the definition to libvirt when it is and this is no dry run. */
int domain_change_finish(struct domain_change *change, struct wla_error *err) _must_check_;

/* The edited definition, indented. */
int domain_change_print(const struct domain_change *change, struct buf *to,
                        struct wla_error *err) _must_check_;

/* What else holds of the change: for the end of the text, and as members of the object. */
void domain_change_print_notes(const struct domain_change *change);
int domain_change_put(const struct domain_change *change, struct json_writer *writer,
                      struct wla_error *err) _must_check_;

void domain_change_done(struct domain_change *change);

#define _cleanup_domain_change_ __attribute__((cleanup(domain_change_done)))
