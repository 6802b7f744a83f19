/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/domain_change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const char hint_saved[] = "start it and shut it down, or give its memory up with "
                                 "'virsh managedsave-remove'";
static const char hint_again[] = "run this again";

static int look_up(struct domain_change *change, const char *name, struct wla_error *err) {
        if (connection_open(change->uri, change->dry_run, &change->connection, err) < 0 ||
            connection_domain(change->connection, name, &change->domain, err) < 0)
                return -1;

        change->name = virDomainGetName(change->domain);
        return 0;
}

static int check_state(struct domain_change *change, struct wla_error *err) {
        int persistent = virDomainIsPersistent(change->domain);
        int active = virDomainIsActive(change->domain);
        int saved = virDomainHasManagedSaveImage(change->domain, 0);

        if (persistent < 0 || active < 0)
                return connection_fail(err, "looking at domain %.80s", change->name);
        if (persistent == 0)
                return wla_fail(err, WLA_E_UNSUPPORTED,
                                "domain %.80s is transient: it has no definition to change",
                                change->name);

        /* It would resume with the disks that it was saved with.  Not every driver can save: -1. */
        if (saved > 0)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_saved,
                                     "domain %.80s is saved, and resumes with the disks that it "
                                     "was saved with",
                                     change->name);

        change->active = active > 0;
        change->snapshots = virDomainSnapshotNum(change->domain, 0) > 0;
        return 0;
}

int domain_change_begin(struct domain_change *change, const char *name, struct wla_error *err) {
        if (look_up(change, name, err) < 0 || check_state(change, err) < 0 ||
            connection_definition(change->domain, !change->dry_run, &change->read, err) < 0)
                return -1;

        if (definition_read((const char *)change->read.data, change->read.size, &change->definition,
                            err) < 0 ||
            definition_write(&change->definition, &change->before, err) < 0)
                return wla_wrap(err, "domain %.80s", change->name);
        return 0;
}

/* What wlagentd will say of it at the next start. */
static int judge(const struct domain_change *change, struct wla_error *err) {
        _cleanup_free_ struct domain *domain = calloc(1, sizeof(*domain));

        if (!domain)
                return definition_fail_memory(err);
        if (domain_parse((const char *)change->after.data, change->after.size, domain, err) < 0)
                return wla_wrap(err, "the new definition of domain %.80s", change->name);
        return 0;
}

static bool same(const struct buf *a, const struct buf *b) {
        return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* As 'virsh edit': libvirt has no way to say "only if it is still this". */
static int check_unchanged(const struct domain_change *change, struct wla_error *err) {
        _cleanup_buf_ struct buf now = BUF_WITH_LIMIT(DOMAIN_CHANGE_XML_MAX);

        if (connection_definition(change->domain, true, &now, err) < 0)
                return -1;
        if (same(&now, &change->read))
                return 0;
        return wla_fail_hint(err, WLA_E_BUSY, hint_again,
                             "somebody else has just changed the definition of domain %.80s",
                             change->name);
}

static int define(struct domain_change *change, struct wla_error *err) {
        const char *xml = buf_text(&change->after, err);

        if (!xml || check_unchanged(change, err) < 0)
                return -1;

        virDomainPtr defined = virDomainDefineXML(change->connection, xml);
        if (!defined)
                return connection_fail(err, "changing the definition of domain %.80s",
                                       change->name);
        (void)virDomainFree(defined);
        return 0;
}

int domain_change_finish(struct domain_change *change, struct wla_error *err) {
        if (definition_write(&change->definition, &change->after, err) < 0)
                return -1;

        change->changed = !same(&change->before, &change->after);
        if (!change->changed)
                return 0;

        if (judge(change, err) < 0)
                return -1;
        return change->dry_run ? 0 : define(change, err);
}

int domain_change_print(const struct domain_change *change, struct buf *to, struct wla_error *err) {
        return definition_indent(&change->after, to, err);
}

void domain_change_print_notes(const struct domain_change *change) {
        if (!change->changed)
                return;
        if (change->active)
                (void)puts("The domain is running: the change takes effect when it starts next.");
        if (change->snapshots)
                (void)puts("Its snapshots keep the disks that they were made with.");
}

int domain_change_put(const struct domain_change *change, struct json_writer *writer,
                      struct wla_error *err) {
        _cleanup_buf_ struct buf xml = BUF_WITH_LIMIT(DOMAIN_CHANGE_XML_MAX);
        const char *text;

        json_put_text(writer, "domain", change->name);
        json_put_text(writer, "uuid", change->definition.uuid.text);
        json_put_bool(writer, "changed", change->changed);
        json_put_bool(writer, "active", change->active);
        json_put_bool(writer, "snapshots", change->snapshots);
        if (!change->dry_run)
                return 0;

        if (domain_change_print(change, &xml, err) < 0 || !(text = buf_text(&xml, err)))
                return -1;
        json_put_text(writer, "definition", text);
        return 0;
}

void domain_change_done(struct domain_change *change) {
        definition_clear(&change->definition);
        buf_clear(&change->read);
        buf_clear(&change->before);
        buf_clear(&change->after);
        connection_free_domain(&change->domain);
        connection_close(&change->connection);
}
