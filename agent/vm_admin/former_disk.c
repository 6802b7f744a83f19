/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/former_disk.h"

#include <string.h>

#include "vm/domain.h"

#define FORMER "former"

static const char hint_edit[] = "give the disk its source with 'virsh edit', then run this again";

/* The children of <disk> that say where it lies and how it is opened; the others say what the guest
 * sees. */
static bool is_part(const xmlNode *node) {
        static const char *const parts[] = {"driver", "auth", "source", "backingStore"};

        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
                if (definition_is(node, NULL, parts[i]))
                        return true;
        return false;
}

static int copy_parts(const xmlNode *from, xmlNode *to, struct wla_error *err) {
        for (xmlNode *node = from->children; node; node = node->next) {
                if (!is_part(node))
                        continue;

                xmlNode *copy = xmlDocCopyNode(node, to->doc, 1);
                if (!copy)
                        return definition_fail_memory(err);
                (void)xmlAddChild(to, copy);
        }
        return 0;
}

int former_disk_keep(const xmlNode *disk, xmlNode *line, struct wla_error *err) {
        _cleanup_text_ xmlChar *type = definition_attribute(disk, "type");
        xmlNode *former = definition_child(line, DOMAIN_NAMESPACE, FORMER);

        if (former)
                definition_remove(former);
        if (definition_add(line, line->ns, FORMER, &former, err) < 0 ||
            definition_set(former, "type", (const char *)type, err) < 0)
                return -1;
        return copy_parts(disk, former, err);
}

static void remove_parts(xmlNode *disk) {
        xmlNode *next;

        for (xmlNode *node = disk->children; node; node = next) {
                next = node->next;
                if (is_part(node))
                        definition_remove(node);
        }
}

int former_disk_restore(xmlNode *disk, const xmlNode *line, struct wla_error *err) {
        const xmlNode *former = definition_child(line, DOMAIN_NAMESPACE, FORMER);

        if (!former)
                return wla_fail_hint(err, WLA_E_NOT_FOUND, hint_edit,
                                     "the definition does not say what it was before");

        _cleanup_text_ xmlChar *type = definition_attribute(former, "type");

        remove_parts(disk);
        if (definition_set(disk, "type", (const char *)type, err) < 0)
                return -1;
        return copy_parts(former, disk, err);
}
