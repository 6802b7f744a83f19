/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A domain's definition as a tree, to change a little of it and nothing else.
 *
 * What is read here comes from libvirt and goes back to it: white space, comments and the elements of
 * other namespaces stay as they are.
 *
 * Ownership: the tree is the definition's; nodes are lent.
 * Threads:   one.
 * Failure:   WLA_E_INPUT for what is no definition of a domain, WLA_E_BUSY without memory.
 * Source:    libvirt, formatdomain.
 */

#include <libxml/tree.h>

#include "base/buf.h"
#include "base/uuid.h"

struct definition {
        xmlDoc *tree;
        xmlNode *root; /* <domain> */
        struct uuid uuid;
};

/* At most DOMAIN_XML_MAX bytes, which is what wlagentd takes; no DTD. */
int definition_read(const char *xml, size_t size, struct definition *ret,
                    struct wla_error *err) _must_check_;
void definition_clear(struct definition *definition);

#define _cleanup_definition_ __attribute__((cleanup(definition_clear)))

/* Appends <domain> and all below it, without an XML declaration. */
int definition_write(const struct definition *definition, struct buf *to,
                     struct wla_error *err) _must_check_;

/* Appends xml with the indentation that libvirt gives it. */
int definition_indent(const struct buf *xml, struct buf *to, struct wla_error *err) _must_check_;

/* The disk of that target.  WLA_E_NOT_FOUND, naming those that there are. */
int definition_disk(const struct definition *definition, const char *target, xmlNode **ret,
                    struct wla_error *err) _must_check_;

/* The first child element of that name in namespace, or in none when it is NULL; NULL: there is none. */
xmlNode *definition_child(const xmlNode *parent, const char *namespace, const char *name);

bool definition_is(const xmlNode *node, const char *namespace, const char *name);

/* The attribute of no namespace, to be freed with xmlFree(); NULL: there is none. */
xmlChar *definition_attribute(const xmlNode *node, const char *name);

/* value NULL removes it. */
int definition_set(xmlNode *node, const char *name, const char *value,
                   struct wla_error *err) _must_check_;

/* A new last child without content. */
int definition_add(xmlNode *parent, xmlNs *namespace, const char *name, xmlNode **ret,
                   struct wla_error *err) _must_check_;

/* The element and all below it. */
void definition_remove(xmlNode *node);

#define definition_fail_memory(err) \
        wla_fail((err), WLA_E_BUSY, "no memory is left for the definition of the domain")

static inline void definition_free_text(xmlChar **text) {
        xmlFree(*text);
}

#define _cleanup_text_ __attribute__((cleanup(definition_free_text)))
