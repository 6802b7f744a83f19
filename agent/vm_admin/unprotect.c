/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/vm.h"
#include "vm_admin/domain_change.h"
#include "vm_admin/domain_edit.h"

static void print_text(const struct domain_change *change, const struct unprotected_disks *disks) {
        for (size_t i = 0; i < disks->count; i++)
                (void)printf("Disk %s of domain %s is what it was before it was protected.\n",
                             disks->targets[i], change->name);
        if (disks->count == 0)
                (void)printf("Domain %s has no protected disks.\n", change->name);
        domain_change_print_notes(change);
}

static int print_json(const struct domain_change *change, const struct unprotected_disks *disks,
                      struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

        json_open_object(&writer, NULL);
        json_open_array(&writer, "disks");
        for (size_t i = 0; i < disks->count; i++)
                json_put_text(&writer, NULL, disks->targets[i]);
        json_close_array(&writer);
        if (domain_change_put(change, &writer, err) < 0)
                return -1;
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static int tell(const struct domain_change *change, const struct unprotected_disks *disks,
                bool json, struct wla_error *err) {
        _cleanup_buf_ struct buf xml = BUF_WITH_LIMIT(DOMAIN_CHANGE_XML_MAX);

        if (json)
                return print_json(change, disks, err);
        if (!change->dry_run) {
                print_text(change, disks);
                return 0;
        }
        if (domain_change_print(change, &xml, err) < 0)
                return -1;
        (void)printf("%.*s\n", (int)xml.size, (const char *)xml.data);
        return 0;
}

static int edit(struct domain_change *change, const char *target, struct unprotected_disks *disks,
                struct wla_error *err) {
        if (domain_edit_unprotect(&change->definition, target, disks, err) < 0)
                return wla_wrap(err, "domain %.80s", change->name);
        if (target && disks->count == 0)
                return wla_fail(err, WLA_E_NOT_FOUND, "domain %.80s: disk %s is not protected",
                                change->name, target);
        return domain_change_finish(change, err);
}

enum outcome vm_unprotect(struct invocation *invocation, const struct arguments *arguments,
                          struct wla_error *err) {
        bool dry_run = arguments->option[VM_UNPROTECT_DRY_RUN] != NULL;
        const char *target = arguments->option[VM_UNPROTECT_DISK];
        _cleanup_domain_change_ struct domain_change change = DOMAIN_CHANGE(
                arguments->option[VM_UNPROTECT_CONNECT], dry_run);
        struct unprotected_disks disks;

        (void)invocation;
        if (target && !disk_target_valid(target, strlen(target))) {
                (void)wla_fail(err, WLA_E_INPUT, "'%.32s' is not the target of a disk", target);
                return OUTCOME_USAGE;
        }

        /* A definition may hold passwords. */
        if (invocation_forbid_dumps(err) < 0 ||
            domain_change_begin(&change, arguments->operand, err) < 0 ||
            edit(&change, target, &disks, err) < 0 ||
            tell(&change, &disks, arguments->option[VM_UNPROTECT_JSON] != NULL, err) < 0)
                return OUTCOME_FAILED;
        return OUTCOME_OK;
}
