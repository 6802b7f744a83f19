/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/definition.h"

#include <libxml/parser.h>
#include <libxml/xmlsave.h>
#include <string.h>

#include "vm/domain.h"
#include "vm/xml_memory.h"

#define TARGETS_TEXT_MAX 256u

/* No network, and nothing on standard error.  Entities stay references: libvirt writes none. */
#define PARSE_OPTIONS (XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING)

static int take_uuid(struct definition *definition, struct wla_error *err) {
        xmlNode *node = definition_child(definition->root, NULL, "uuid");
        _cleanup_text_ xmlChar *text = node ? xmlNodeGetContent(node) : NULL;

        if (!text)
                return wla_fail(err, WLA_E_INPUT, "it has no UUID");
        return uuid_parse((const char *)text, strlen((const char *)text), &definition->uuid, err);
}

int definition_read(const char *xml, size_t size, struct definition *ret, struct wla_error *err) {
        _cleanup_definition_ struct definition definition = {0};

        if (size > DOMAIN_XML_MAX)
                return wla_fail(err, WLA_E_INPUT,
                                "the definition of the domain has more than %u bytes",
                                DOMAIN_XML_MAX);

        xml_memory_begin();
        definition.tree = xmlReadMemory(xml, (int)size, NULL, "UTF-8", PARSE_OPTIONS);
        if (xml_memory_failed())
                return definition_fail_memory(err);
        if (!definition.tree)
                return wla_fail(err, WLA_E_INPUT, "the definition of the domain is not XML");

        definition.root = xmlDocGetRootElement(definition.tree);
        if (definition.tree->intSubset || !definition_is(definition.root, NULL, "domain"))
                return wla_fail(err, WLA_E_INPUT, "that is no definition of a domain");
        if (take_uuid(&definition, err) < 0)
                return wla_wrap(err, "the definition of the domain");

        *ret = definition;
        definition.tree = NULL;
        return 0;
}

void definition_clear(struct definition *definition) {
        xmlFreeDoc(definition->tree);
        definition->tree = NULL;
}

static int save(xmlNode *node, int options, struct buf *to, struct wla_error *err) {
        xmlBuffer *text = xmlBufferCreate();
        xmlSaveCtxt *save = text ? xmlSaveToBuffer(text, "UTF-8", options | XML_SAVE_NO_DECL)
                                 : NULL;
        int result = -1;

        /* xmlSaveClose() tells of what did not fit. */
        bool saved = save && xmlSaveTree(save, node) >= 0;
        if (save && xmlSaveClose(save) < 0)
                saved = false;

        /* An attribute that was not there for want of memory counts as well. */
        if (!saved || xml_memory_failed())
                (void)definition_fail_memory(err);
        else
                result = buf_append(to, xmlBufferContent(text), (size_t)xmlBufferLength(text), err);

        xmlBufferFree(text);
        return result;
}

int definition_write(const struct definition *definition, struct buf *to, struct wla_error *err) {
        return save(definition->root, 0, to, err);
}

int definition_indent(const struct buf *xml, struct buf *to, struct wla_error *err) {
        xmlDoc *tree = xmlReadMemory((const char *)xml->data, (int)xml->size, NULL, "UTF-8",
                                     PARSE_OPTIONS | XML_PARSE_NOBLANKS);
        if (!tree)
                return definition_fail_memory(err);

        int result = save(xmlDocGetRootElement(tree), XML_SAVE_FORMAT, to, err);
        xmlFreeDoc(tree);
        return result;
}

bool definition_is(const xmlNode *node, const char *namespace, const char *name) {
        if (!node || node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, name) != 0)
                return false;
        if (!namespace || !node->ns)
                return !namespace && !node->ns;
        /* href: libxml2 makes a namespace without it when it lacks memory. */
        return node->ns->href && strcmp((const char *)node->ns->href, namespace) == 0;
}

xmlNode *definition_child(const xmlNode *parent, const char *namespace, const char *name) {
        for (xmlNode *node = parent ? parent->children : NULL; node; node = node->next)
                if (definition_is(node, namespace, name))
                        return node;
        return NULL;
}

xmlChar *definition_attribute(const xmlNode *node, const char *name) {
        return xmlGetNoNsProp(node, (const xmlChar *)name);
}

int definition_set(xmlNode *node, const char *name, const char *value, struct wla_error *err) {
        if (!value) {
                (void)xmlUnsetProp(node, (const xmlChar *)name);
                return 0;
        }
        if (!xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value))
                return definition_fail_memory(err);
        return 0;
}

int definition_add(xmlNode *parent, xmlNs *namespace, const char *name, xmlNode **ret,
                   struct wla_error *err) {
        xmlNode *node = xmlNewChild(parent, NULL, (const xmlChar *)name, NULL);

        if (!node)
                return definition_fail_memory(err);
        xmlSetNs(node, namespace);
        *ret = node;
        return 0;
}

void definition_remove(xmlNode *node) {
        xmlUnlinkNode(node);
        xmlFreeNode(node);
}

/* Targets are libvirt's own words, but go to a terminal. */
static void add_target(char targets[TARGETS_TEXT_MAX], const char *target) {
        size_t used = strlen(targets);

        if (disk_target_valid(target, strlen(target)))
                (void)snprintf(targets + used, TARGETS_TEXT_MAX - used, "%s%s",
                               used > 0 ? ", " : "", target);
}

int definition_disk(const struct definition *definition, const char *target, xmlNode **ret,
                    struct wla_error *err) {
        xmlNode *devices = definition_child(definition->root, NULL, "devices");
        char targets[TARGETS_TEXT_MAX] = "";

        for (xmlNode *node = devices ? devices->children : NULL; node; node = node->next) {
                if (!definition_is(node, NULL, "disk"))
                        continue;

                xmlNode *child = definition_child(node, NULL, "target");
                _cleanup_text_ xmlChar *dev = child ? definition_attribute(child, "dev") : NULL;
                if (!dev)
                        continue;
                if (strcmp((const char *)dev, target) == 0) {
                        *ret = node;
                        return 0;
                }
                add_target(targets, (const char *)dev);
        }

        if (!targets[0])
                return wla_fail(err, WLA_E_NOT_FOUND, "it has no disks");
        return wla_fail(err, WLA_E_NOT_FOUND, "it has no disk %.32s; its disks are %s", target,
                        targets);
}
