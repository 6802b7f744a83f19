/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_admin/domain_edit.h"

#include <stdio.h>
#include <string.h>

#include "vm/xml_memory.h"
#include "vm_admin/former_disk.h"
#include "volume/volume_name.h"

#define PREFIX      "wlagent"
#define LINE_DISK   "disk"
#define LINE_SECRET "secret"
#define DEVICE_SIZE (sizeof(VOLUME_DEVICE_ROOT) + VOLUME_NAME_SIZE)

/* Our element, made where there is none. */
static int open_protected(struct definition *definition, xmlNode **ret, struct wla_error *err) {
        xmlNode *metadata = definition_child(definition->root, NULL, "metadata");

        if (!metadata && definition_add(definition->root, NULL, "metadata", &metadata, err) < 0)
                return -1;

        xmlNode *node = definition_child(metadata, DOMAIN_NAMESPACE, "protected");
        if (!node) {
                if (definition_add(metadata, NULL, "protected", &node, err) < 0)
                        return -1;
                xmlNs *namespace = xmlNewNs(node, (const xmlChar *)DOMAIN_NAMESPACE,
                                            (const xmlChar *)PREFIX);
                if (!namespace)
                        return definition_fail_memory(err);
                xmlSetNs(node, namespace);
        }

        /* A default namespace would take in the elements of libvirt that a line keeps. */
        if (!node->ns->prefix) {
                xmlChar *prefix = xmlStrdup((const xmlChar *)PREFIX);
                if (!prefix)
                        return definition_fail_memory(err);
                node->ns->prefix = prefix;
        }
        *ret = node;
        return 0;
}

static bool line_is_of(const xmlNode *node, const char *kind, const char *target) {
        if (!definition_is(node, DOMAIN_NAMESPACE, kind))
                return false;

        _cleanup_text_ xmlChar *dev = definition_attribute(node, "target");
        return dev && strcmp((const char *)dev, target) == 0;
}

static int open_line(xmlNode *protected, const char *kind, const char *target, xmlNode **ret,
                     struct wla_error *err) {
        for (xmlNode *node = protected->children; node; node = node->next)
                if (line_is_of(node, kind, target)) {
                        *ret = node;
                        return 0;
                }

        if (definition_add(protected, protected->ns, kind, ret, err) < 0)
                return -1;
        return definition_set(*ret, "target", target, err);
}

static const char *text_or_null(const char *text) {
        return text[0] ? text : NULL;
}

static int write_line(xmlNode *line, const struct protected_disk *disk, struct wla_error *err) {
        const char *key = disk->has_key_id ? disk->key_id.text : NULL;

        if (definition_set(line, "mode", disk_mode_name(disk->mode), err) < 0 ||
            definition_set(line, "image", disk->image, err) < 0 ||
            definition_set(line, "header", text_or_null(disk->header), err) < 0 ||
            definition_set(line, "key", key, err) < 0)
                return -1;
        return 0;
}

static bool attribute_is(const xmlNode *node, const char *name, const char *value) {
        _cleanup_text_ xmlChar *text = definition_attribute(node, name);

        return text && strcmp((const char *)text, value) == 0;
}

/* Any volume of ours: that of another domain too, which a copied definition names. */
static bool is_our_device(const xmlNode *disk) {
        const xmlNode *source = definition_child(disk, NULL, "source");
        _cleanup_text_ xmlChar *dev = source ? definition_attribute(source, "dev") : NULL;
        static const char prefix[] = VOLUME_DEVICE_ROOT VOLUME_NAME_PREFIX;

        return dev && strncmp((const char *)dev, prefix, sizeof(prefix) - 1) == 0;
}

static int check_suitable(const xmlNode *disk, const char *target, struct wla_error *err) {
        static const char *const types[] = {"file", "block", "volume", "network", NULL};
        _cleanup_text_ xmlChar *device = definition_attribute(disk, "device");
        _cleanup_text_ xmlChar *type = definition_attribute(disk, "type");
        const xmlNode *source = definition_child(disk, NULL, "source");
        size_t i = 0;

        if (device && strcmp((const char *)device, "disk") != 0)
                return wla_fail(err, WLA_E_INPUT, "%s is no disk but another kind of drive",
                                target);
        if (definition_child(disk, NULL, "encryption") ||
            definition_child(source, NULL, "encryption"))
                return wla_fail_hint(
                        err, WLA_E_INPUT,
                        "use --secret, or take the element <encryption> out with 'virsh edit' "
                        "first",
                        "libvirt itself encrypts disk %s", target);
        if (definition_child(disk, NULL, "shareable"))
                return wla_fail(err, WLA_E_INPUT, "disk %s is shared with other domains", target);
        if (definition_child(disk, NULL, "transient"))
                return wla_fail_hint(
                        err, WLA_E_INPUT, "take <transient/> out and use --mode ephemeral",
                        "libvirt itself throws away what is written to disk %s", target);

        while (type && types[i] && strcmp((const char *)type, types[i]) != 0)
                i++;
        if (type && !types[i])
                return wla_fail(err, WLA_E_INPUT, "disk %s is of a type that cannot be protected",
                                target);
        return 0;
}

/* A volume does not grow, and QEMU frees no place in it only when it is told so.  Where it cannot be told, it
 * does not hear what a guest discards.  Nobody discards in a disk that is only read, and libvirt refuses to be
 * told there. */
static int write_discard(const xmlNode *node, xmlNode *driver, const struct protected_disk *disk,
                         struct wla_error *err) {
        bool frees = disk->format == IMAGE_CONTENT_QCOW2 &&
                     !definition_child(node, NULL, "readonly");
        bool keeps = frees && disk->keeps_places;
        const char *discard = frees && !keeps ? "ignore" : "unmap";

        if (definition_set(driver, "discard_no_unref", keeps ? "on" : NULL, err) < 0)
                return -1;
        if (attribute_is(driver, "discard", "ignore"))
                return 0;
        return definition_set(driver, "discard", discard, err);
}

/* What the disk was given besides its format stays: queues, I/O threads, what to do on errors. */
static int write_driver(xmlNode *node, const struct protected_disk *disk, struct wla_error *err) {
        xmlNode *driver = definition_child(node, NULL, "driver");

        if (!driver && definition_add(node, NULL, "driver", &driver, err) < 0)
                return -1;

        /* Belongs to qcow2 alone. */
        xmlNode *cache = definition_child(driver, NULL, "metadata_cache");
        if (cache && disk->format != IMAGE_CONTENT_QCOW2)
                definition_remove(cache);

        /* Without a second copy of the plaintext in the page cache, and fit for migration. */
        if (!attribute_is(driver, "cache", "directsync") &&
            definition_set(driver, "cache", "none", err) < 0)
                return -1;
        if (write_discard(node, driver, disk, err) < 0 ||
            definition_set(driver, "name", "qemu", err) < 0)
                return -1;
        return definition_set(driver, "type", image_content_name(disk->format), err);
}

static void remove_child(xmlNode *parent, const char *name) {
        xmlNode *child = definition_child(parent, NULL, name);

        if (child)
                definition_remove(child);
}

static int write_source(const struct definition *definition, xmlNode *disk, const char *target,
                        struct wla_error *err) {
        struct volume_name volume = {.kind = VOLUME_DISK, .uuid = definition->uuid};
        xmlNode *source = definition_child(disk, NULL, "source");
        char name[VOLUME_NAME_SIZE];
        char device[DEVICE_SIZE];

        (void)snprintf(volume.target, sizeof(volume.target), "%s", target);
        volume_name_write(&volume, name);
        (void)snprintf(device, sizeof(device), VOLUME_DEVICE_ROOT "%s", name);

        if (!is_our_device(disk)) {
                remove_child(disk, "source");
                remove_child(disk, "auth");
                if (definition_add(disk, NULL, "source", &source, err) < 0)
                        return -1;
        }
        return definition_set(source, "dev", device, err);
}

/* An image has nothing below it, whatever it says itself; a layer has its image, which libvirt reads
 * from the layer when the domain starts. */
static int end_chain(xmlNode *disk, enum disk_mode mode, struct wla_error *err) {
        xmlNode *end = definition_child(disk, NULL, "backingStore");

        if (end && (mode != DISK_DIRECT || end->children)) {
                definition_remove(end);
                end = NULL;
        }
        if (mode != DISK_DIRECT || end)
                return 0;
        return definition_add(disk, NULL, "backingStore", &end, err);
}

static int edit_protect(struct definition *definition, const struct protected_disk *disk,
                        struct wla_error *err) {
        xmlNode *protected = NULL;
        xmlNode *line = NULL;
        xmlNode *node = NULL;

        if (definition_disk(definition, disk->target, &node, err) < 0 ||
            check_suitable(node, disk->target, err) < 0 ||
            open_protected(definition, &protected, err) < 0 ||
            open_line(protected, LINE_DISK, disk->target, &line, err) < 0 ||
            write_line(line, disk, err) < 0)
                return -1;

        if (!is_our_device(node) && former_disk_keep(node, line, err) < 0)
                return -1;

        if (definition_set(node, "type", "block", err) < 0 || write_driver(node, disk, err) < 0 ||
            write_source(definition, node, disk->target, err) < 0)
                return -1;
        return end_chain(node, disk->mode, err);
}

/* Without memory an attribute looks as if it were not there. */
static int fail_edit(struct wla_error *err) {
        return xml_memory_failed() ? definition_fail_memory(err) : -1;
}

int domain_edit_protect(struct definition *definition, const struct protected_disk *disk,
                        struct wla_error *err) {
        return edit_protect(definition, disk, err) < 0 ? fail_edit(err) : 0;
}

static int find_secret(const xmlNode *disk, const char *target, struct uuid *ret,
                       struct wla_error *err) {
        const xmlNode *encryption = definition_child(disk, NULL, "encryption");

        if (!encryption)
                encryption = definition_child(definition_child(disk, NULL, "source"), NULL,
                                              "encryption");
        if (!encryption)
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "use --image, or let libvirt encrypt the disk first",
                                     "disk %s has no element <encryption>", target);

        const xmlNode *secret = definition_child(encryption, NULL, "secret");
        _cleanup_text_ xmlChar *uuid = secret ? definition_attribute(secret, "uuid") : NULL;
        if (!uuid)
                return wla_fail_hint(err, WLA_E_INPUT, "name it by uuid= and not by usage=",
                                     "the <encryption> of disk %s names no secret by UUID", target);
        return uuid_parse((const char *)uuid, strlen((const char *)uuid), ret, err);
}

static int give_secret(struct definition *definition, struct protected_disk *disk,
                       struct wla_error *err) {
        xmlNode *protected = NULL;
        xmlNode *line = NULL;
        xmlNode *node = NULL;

        disk->mode = DISK_SECRET;
        if (definition_disk(definition, disk->target, &node, err) < 0 ||
            find_secret(node, disk->target, &disk->secret, err) < 0 ||
            open_protected(definition, &protected, err) < 0 ||
            open_line(protected, LINE_SECRET, disk->target, &line, err) < 0 ||
            definition_set(line, "uuid", disk->secret.text, err) < 0)
                return -1;
        return definition_set(line, "key", disk->key_id.text, err);
}

int domain_edit_give_secret(struct definition *definition, struct protected_disk *disk,
                            struct wla_error *err) {
        return give_secret(definition, disk, err) < 0 ? fail_edit(err) : 0;
}

static int take_back(struct definition *definition, xmlNode *line, const char *target,
                     struct wla_error *err) {
        struct wla_error ignored = {0};
        xmlNode *disk;

        if (definition_disk(definition, target, &disk, &ignored) < 0 || !is_our_device(disk))
                return 0;
        if (former_disk_restore(disk, line, err) < 0)
                return wla_wrap(err, "disk %s", target);
        return 0;
}

static int take_back_line(struct definition *definition, xmlNode *line, const char *wanted,
                          struct unprotected_disks *done, struct wla_error *err) {
        _cleanup_text_ xmlChar *attribute = definition_attribute(line, "target");
        const char *target = attribute ? (const char *)attribute : "";

        if (wanted && strcmp(target, wanted) != 0)
                return 0;
        if (!disk_target_valid(target, strlen(target)) || done->count == DOMAIN_DISKS_MAX)
                return wla_fail_hint(err, WLA_E_INPUT, "repair it with 'virsh edit'",
                                     "a line of wlagent's metadata names no target");

        if (take_back(definition, line, target, err) < 0)
                return -1;

        (void)snprintf(done->targets[done->count++], DISK_TARGET_SIZE, "%s", target);
        definition_remove(line);
        return 0;
}

/* false: another element is in it. */
static bool is_empty(const xmlNode *node) {
        for (const xmlNode *child = node->children; child; child = child->next)
                if (child->type != XML_TEXT_NODE || !xmlIsBlankNode(child))
                        return false;
        return true;
}

int domain_edit_unprotect(struct definition *definition, const char *target,
                          struct unprotected_disks *ret, struct wla_error *err) {
        xmlNode *metadata = definition_child(definition->root, NULL, "metadata");
        xmlNode *protected = definition_child(metadata, DOMAIN_NAMESPACE, "protected");
        struct unprotected_disks done = {0};
        xmlNode *next;

        for (xmlNode *node = protected ? protected->children : NULL; node; node = next) {
                next = node->next;
                if ((definition_is(node, DOMAIN_NAMESPACE, LINE_DISK) ||
                     definition_is(node, DOMAIN_NAMESPACE, LINE_SECRET)) &&
                    take_back_line(definition, node, target, &done, err) < 0)
                        return fail_edit(err);
        }

        if (protected && is_empty(protected))
                definition_remove(protected);
        if (metadata && is_empty(metadata))
                definition_remove(metadata);

        *ret = done;
        return 0;
}
