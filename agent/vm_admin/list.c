/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/json_writer.h"
#include "cli/vm.h"
#include "vm/domain.h"
#include "vm_admin/connection.h"
#include "volume/volume_name.h"

/* Of one domain: as it starts next, and as it runs. */
struct view {
        const char *name;
        char uuid[VIR_UUID_STRING_BUFLEN];
        bool active;
        struct wla_error fault; /* why it does not start */
        struct domain next;
        struct domain running;
};

static void read_definition(virDomainPtr domain, unsigned flags, struct domain *ret,
                            struct wla_error *err) {
        char *xml = virDomainGetXMLDesc(domain, flags);

        if (!xml)
                (void)connection_fail(err, "reading its definition");
        else if (domain_parse(xml, strlen(xml), ret, err) < 0)
                ret->disk_count = 0;
        free(xml);
}

static int look_at(virDomainPtr domain, struct view *view, struct wla_error *err) {
        struct wla_error ignored = {0};

        *view = (struct view){.name = virDomainGetName(domain),
                              .active = virDomainIsActive(domain) > 0};
        if (virDomainGetUUIDString(domain, view->uuid) < 0)
                return connection_fail(err, "looking at a domain");

        read_definition(domain, VIR_DOMAIN_XML_INACTIVE, &view->next, &view->fault);
        if (view->active)
                read_definition(domain, 0, &view->running, &ignored);
        return 0;
}

static bool in_use(const struct view *view, const struct protected_disk *disk) {
        for (size_t i = 0; i < view->running.disk_count; i++)
                if (strcmp(view->running.disks[i].target, disk->target) == 0)
                        return true;
        return false;
}

static bool is_listed(const struct view *view) {
        return view->next.disk_count > 0 || view->fault.code != WLA_OK;
}

static void print_row(const struct view *view) {
        if (view->fault.code != WLA_OK)
                (void)printf("%-20s  cannot start: %s\n", view->name, wla_error_text(&view->fault));

        for (size_t i = 0; i < view->next.disk_count; i++) {
                const struct protected_disk *disk = &view->next.disks[i];
                const char *state = !view->active        ? "shut off"
                                    : in_use(view, disk) ? "running"
                                                         : "at next start";

                (void)printf("%-20s  %-13s  %-6s  %-9s  %s\n", view->name, state, disk->target,
                             disk_mode_name(disk->mode),
                             disk->mode == DISK_SECRET ? disk->secret.text : disk->image);
        }
}

static void put_secret(const struct view *view, const struct protected_disk *disk,
                       struct json_writer *writer) {
        json_open_object(writer, NULL);
        json_put_text(writer, "target", disk->target);
        json_put_text(writer, "mode", disk_mode_name(disk->mode));
        json_put_text(writer, "secret", disk->secret.text);
        json_put_text(writer, "key", disk->key_id.text);
        json_put_bool(writer, "in_use", in_use(view, disk));
        json_close_object(writer);
}

static void put_disk(const struct view *view, const struct protected_disk *disk,
                     struct json_writer *writer) {
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = view->next.uuid};
        char device[sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE] = VOLUME_DEVICE_ROOT;

        if (disk->mode == DISK_SECRET) {
                put_secret(view, disk, writer);
                return;
        }
        memcpy(name.target, disk->target, sizeof(name.target));
        volume_name_write(&name, device + strlen(VOLUME_DEVICE_ROOT));

        json_open_object(writer, NULL);
        json_put_text(writer, "target", disk->target);
        json_put_text(writer, "mode", disk_mode_name(disk->mode));
        json_put_text(writer, "image", disk->image);
        json_put_text(writer, "header", disk->header[0] ? disk->header : NULL);
        json_put_text(writer, "key", disk->has_key_id ? disk->key_id.text : NULL);
        json_put_text(writer, "device", device);
        json_put_bool(writer, "in_use", in_use(view, disk));
        json_close_object(writer);
}

static void put_domain(const struct view *view, struct json_writer *writer) {
        json_open_object(writer, NULL);
        json_put_text(writer, "name", view->name);
        json_put_text(writer, "uuid", view->uuid);
        json_put_bool(writer, "active", view->active);
        if (view->fault.code != WLA_OK)
                json_put_text(writer, "error", wla_error_text(&view->fault));
        json_open_array(writer, "disks");
        for (size_t i = 0; i < view->next.disk_count; i++)
                put_disk(view, &view->next.disks[i], writer);
        json_close_array(writer);
        json_close_object(writer);
}

/* writer NULL: as text. */
static int list_domains(const struct domain_list *list, struct json_writer *writer, size_t *ret_bad,
                        struct wla_error *err) {
        _cleanup_free_ struct view *view = calloc(1, sizeof(*view));
        size_t bad = 0;

        if (!view)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        for (size_t i = 0; i < list->count; i++) {
                if (look_at(list->domains[i], view, err) < 0)
                        return -1;
                if (!is_listed(view))
                        continue;
                if (view->fault.code != WLA_OK)
                        bad++;
                if (writer)
                        put_domain(view, writer);
                else
                        print_row(view);
        }
        *ret_bad = bad;
        return 0;
}

static int list_all(const struct domain_list *list, bool json, size_t *ret_bad,
                    struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;

        if (!json) {
                (void)printf("%-20s  %-13s  %-6s  %-9s  %s\n", "DOMAIN", "STATE", "DISK", "MODE",
                             "IMAGE OR SECRET");
                return list_domains(list, NULL, ret_bad, err);
        }

        json_open_object(&writer, NULL);
        json_open_array(&writer, "domains");
        if (list_domains(list, &writer, ret_bad, err) < 0)
                return -1;
        json_close_array(&writer);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

enum outcome vm_list(struct invocation *invocation, const struct arguments *arguments,
                     struct wla_error *err) {
        _cleanup_domain_list_ struct domain_list list = {0};
        _cleanup_connection_ virConnectPtr connection = NULL;
        size_t bad = 0;

        (void)invocation;
        if (connection_open(arguments->option[VM_LIST_CONNECT], true, &connection, err) < 0 ||
            connection_domains(connection, &list, err) < 0 ||
            list_all(&list, arguments->option[VM_LIST_JSON] != NULL, &bad, err) < 0)
                return OUTCOME_FAILED;

        if (bad == 0)
                return OUTCOME_OK;
        (void)wla_fail_hint(err, WLA_E_INPUT, "'wlagent vm protect' and 'virsh edit' repair them",
                            "%zu protected domains cannot start", bad);
        return OUTCOME_FAILED;
}
