/* SPDX-License-Identifier: Apache-2.0 */
#include <libxml/xmlreader.h>
#include <string.h>

#include "vm/domain_facts.h"
#include "vm/domain_line.h"
#include "vm/xml_memory.h"

#define NAMESPACE_FAMILY "urn:wlagent:"
#define NOVA_NAMESPACE   "http://openstack.org/xmlns/libvirt/nova/"
#define NOVA_VERSIONS    "1." /* 1.0 and 1.1 differ in nothing that is read here */
#define DEVICE_PREFIX    VOLUME_DEVICE_ROOT VOLUME_NAME_PREFIX

enum vocabulary {
        PLAIN, /* libvirt's own elements have no namespace */
        OURS,
        NOVA,
        FOREIGN,
};

enum place {
        ELSEWHERE, /* an element that nothing is read from */
        DOCUMENT,
        DOMAIN,
        UUID,
        NAME,
        METADATA,
        PROTECTED,
        LINE,
        SECRET_LINE,
        FORMER,
        INSTANCE,
        ROOT,
        DEVICES,
        DISK,
        SOURCE,
        TARGET,
        DRIVER,
        BELOW,
        SOURCE_BELOW,
        ENCRYPTION,
        SECRET,
        _PLACE_MAX,
};

static const struct {
        enum place parent;
        enum vocabulary vocabulary;
        const char *name;
        enum place place;
        bool repeats; /* within one parent */
} places[] = {
        {DOCUMENT, PLAIN, "domain", DOMAIN, false},
        {DOMAIN, PLAIN, "uuid", UUID, false},
        {DOMAIN, PLAIN, "name", NAME, false},
        {DOMAIN, PLAIN, "metadata", METADATA, false},
        {METADATA, OURS, "protected", PROTECTED, false},
        {PROTECTED, OURS, "disk", LINE, true},
        {PROTECTED, OURS, "secret", SECRET_LINE, true},
        {LINE, OURS, "former", FORMER, false},
        {METADATA, NOVA, "instance", INSTANCE, false},
        {INSTANCE, NOVA, "root", ROOT, false},
        {DOMAIN, PLAIN, "devices", DEVICES, false},
        {DEVICES, PLAIN, "disk", DISK, true},
        {DISK, PLAIN, "source", SOURCE, false},
        {DISK, PLAIN, "target", TARGET, false},
        {DISK, PLAIN, "driver", DRIVER, false},
        {DISK, PLAIN, "backingStore", BELOW, false},
        {BELOW, PLAIN, "source", SOURCE_BELOW, false},
        {BELOW, PLAIN, "backingStore", BELOW, false},
        {DISK, PLAIN, "encryption", ENCRYPTION, true},
        {SOURCE, PLAIN, "encryption", ENCRYPTION, true},
        {ENCRYPTION, PLAIN, "secret", SECRET, true},
};

/* The <disk> that is being read. */
struct open_disk {
        struct domain_disk ours;
        bool is_ours;
        bool has_target;
        bool is_file;
        bool is_disk; /* neither cdrom nor floppy nor lun */
        bool is_encrypted;
        struct encrypted_disk encrypted;
        char file[VOLUMED_PATH_SIZE];
};

struct reading {
        xmlTextReader *reader;
        struct domain_facts *facts;
        bool identity_only;
        struct open_disk disk;
        bool root_is_image;
        struct uuid root_image;
        enum place places[DOMAIN_DEPTH_MAX]; /* of the open elements */
        uint32_t seen[DOMAIN_DEPTH_MAX];     /* bit n: the element there has a child of place n */
};

/* The faults of libxml2 quote the text. */
static void ignore_fault(void *userdata, xmlError *error) {
        (void)userdata;
        (void)error;
}

_printf_(2, 3) static void ignore_message(void *userdata, const char *format, ...) {
        (void)userdata;
        (void)format;
}

static enum vocabulary vocabulary_of(const char *namespace) {
        if (!namespace)
                return PLAIN;
        if (strncmp(namespace, NAMESPACE_FAMILY, strlen(NAMESPACE_FAMILY)) == 0)
                return OURS;
        if (strncmp(namespace, NOVA_NAMESPACE NOVA_VERSIONS,
                    strlen(NOVA_NAMESPACE NOVA_VERSIONS)) == 0)
                return NOVA;
        return FOREIGN;
}

static const char *reader_text(const xmlChar *text) {
        return (const char *)text;
}

static int find_place(const struct reading *reading, enum place parent, enum place *ret,
                      bool *ret_repeats, struct wla_error *err) {
        *ret_repeats = true;
        *ret = FORMER; /* all that is below it, too */
        if (parent == FORMER)
                return 0;

        const char *namespace = reader_text(xmlTextReaderConstNamespaceUri(reading->reader));
        const char *name = reader_text(xmlTextReaderConstLocalName(reading->reader));
        enum vocabulary vocabulary = vocabulary_of(namespace);

        if (!name)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (vocabulary == OURS && strcmp(namespace, DOMAIN_NAMESPACE) != 0)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED,
                                     "the domain was protected by another version of wlagent",
                                     "its metadata element of wlagent is not of %s",
                                     DOMAIN_NAMESPACE);

        *ret = ELSEWHERE;
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
                if (places[i].parent == parent && places[i].vocabulary == vocabulary &&
                    strcmp(places[i].name, name) == 0) {
                        *ret = places[i].place;
                        *ret_repeats = places[i].repeats;
                }

        if (*ret != ELSEWHERE)
                return 0;
        if (parent == DOCUMENT)
                return wla_fail(err, WLA_E_INPUT, "its root is not <domain>");
        if (vocabulary == OURS)
                return wla_fail(err, WLA_E_INPUT, "an element of %s where it does not belong",
                                DOMAIN_NAMESPACE);
        if (parent == PROTECTED || parent == LINE || parent == SECRET_LINE)
                return wla_fail(err, WLA_E_INPUT, "an unknown element in ours");
        return 0;
}

static const char *place_name(enum place place) {
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
                if (places[i].place == place)
                        return places[i].name;
        return "element";
}

_Static_assert(_PLACE_MAX <= 32, "struct reading keeps a bit for each place");

/* A value of ours has no namespace, but what declares one is no value. */
static bool next_attribute(const struct reading *reading) {
        while (xmlTextReaderMoveToNextAttribute(reading->reader) == 1)
                if (xmlTextReaderIsNamespaceDecl(reading->reader) != 1)
                        return true;
        (void)xmlTextReaderMoveToElement(reading->reader);
        return false;
}

static int read_attribute(const struct reading *reading, const char **ret_name,
                          const char **ret_value, struct wla_error *err) {
        *ret_name = reader_text(xmlTextReaderConstName(reading->reader));
        *ret_value = reader_text(xmlTextReaderConstValue(reading->reader));
        if (!*ret_name || !*ret_value)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        return 0;
}

static int read_line(struct reading *reading, enum place place, struct wla_error *err) {
        enum domain_line kind = place == LINE ? DOMAIN_LINE_DISK : DOMAIN_LINE_SECRET;
        struct domain *domain = &reading->facts->domain;
        unsigned seen = 0;
        const char *name;
        const char *value;

        if (domain->disk_count == DOMAIN_DISKS_MAX)
                return wla_fail(err, WLA_E_INPUT, "more than %u protected disks", DOMAIN_DISKS_MAX);

        struct protected_disk *line = &domain->disks[domain->disk_count];
        while (next_attribute(reading))
                if (read_attribute(reading, &name, &value, err) < 0 ||
                    domain_line_take(kind, line, name, value, &seen, err) < 0)
                        return wla_wrap(err, "<%s> in our metadata", place_name(place));
        if (domain_line_check(kind, seen, err) < 0)
                return -1;
        domain->disk_count++;
        return 0;
}

static bool names_our_device(const char *value) {
        return strncmp(value, DEVICE_PREFIX, strlen(DEVICE_PREFIX)) == 0;
}

/* The source of the disk itself, or of an image below it. */
static int take_device(struct reading *reading, enum place place, const char *value,
                       struct wla_error *err) {
        const char *text = value + strlen(VOLUME_DEVICE_ROOT);
        struct open_disk *disk = &reading->disk;
        struct volume_name name;

        if (volume_name_parse(text, &name, err) < 0)
                return wla_wrap(err, "a disk's source");
        if ((place == SOURCE_BELOW) != (name.kind == VOLUME_IMAGE))
                return wla_fail(err, WLA_E_INPUT,
                                "a disk's source is a volume of wlagent for another purpose");

        if (place == SOURCE_BELOW) {
                disk->ours.image_below = true;
                disk->ours.below = name.uuid;
                return 0;
        }
        disk->is_ours = true;
        memcpy(disk->ours.device, text, strlen(text) + 1);
        return 0;
}

static int take_source(struct reading *reading, enum place place, const char *name,
                       const char *value, struct wla_error *err) {
        struct open_disk *disk = &reading->disk;

        if (strcmp(name, "dev") == 0 && names_our_device(value))
                return take_device(reading, place, value, err);
        if (names_our_device(value))
                return wla_fail_hint(err, WLA_E_INPUT,
                                     "a volume of wlagent is a disk of type 'block'",
                                     "%s= of a <source> names a device of wlagent", name);
        if (place == SOURCE && strcmp(name, "file") == 0 && disk_path_valid(value, strlen(value)))
                memcpy(disk->file, value, strlen(value) + 1);
        return 0;
}

static int take_target(struct reading *reading, const char *name, const char *value) {
        struct open_disk *disk = &reading->disk;
        struct wla_error ignored = {0};

        /* What libvirt takes for a target and we do not can only be a disk that is not ours. */
        if (strcmp(name, "dev") == 0)
                disk->has_target = domain_line_target(value, disk->ours.target, &ignored) == 0;
        return 0;
}

static void take_disk(struct reading *reading, const char *name, const char *value) {
        struct open_disk *disk = &reading->disk;

        if (strcmp(name, "type") == 0) {
                disk->ours.block = strcmp(value, "block") == 0;
                disk->is_file = strcmp(value, "file") == 0;
        } else if (strcmp(name, "device") == 0) {
                disk->is_disk = strcmp(value, "disk") == 0;
        }
}

static void take_driver(struct reading *reading, const char *name, const char *value) {
        char *format = reading->disk.ours.format;
        size_t size = strlen(value);

        if (strcmp(name, "discard_no_unref") == 0)
                reading->disk.ours.keeps_places = strcmp(value, "on") == 0;
        if (strcmp(name, "type") != 0)
                return;
        if (size < sizeof(reading->disk.ours.format))
                memcpy(format, value, size + 1);
        else
                memcpy(format, "?", 2);
}

/* What is wrong with it is a fault only when there is a line for it. */
static void take_encryption(struct reading *reading, enum place place, const char *name,
                            const char *value) {
        struct encrypted_disk *encrypted = &reading->disk.encrypted;
        struct wla_error ignored = {0};

        if (place == ENCRYPTION && strcmp(name, "format") == 0)
                encrypted->luks = strcmp(value, "luks") == 0 || strcmp(value, "luks2") == 0;
        if (place == SECRET && strcmp(name, "uuid") == 0)
                encrypted->named_by_uuid = uuid_parse(value, strlen(value), &encrypted->secret,
                                                      &ignored) == 0;
}

static int take_root(struct reading *reading, const char *name, const char *value,
                     struct wla_error *err) {
        if (strcmp(name, "type") == 0)
                reading->root_is_image = strcmp(value, "image") == 0;
        if (strcmp(name, "uuid") == 0)
                return uuid_parse(value, strlen(value), &reading->root_image, err);
        return 0;
}

static int take_attribute(struct reading *reading, enum place place, const char *name,
                          const char *value, struct wla_error *err) {
        if (place == SOURCE || place == SOURCE_BELOW)
                return take_source(reading, place, name, value, err);
        if (names_our_device(value))
                return wla_fail(err, WLA_E_INPUT,
                                "an attribute of another element than a disk's <source> names a "
                                "device of wlagent");
        if (place == ROOT && take_root(reading, name, value, err) < 0)
                return wla_wrap(err, "<root> in Nova's metadata");
        if (place == TARGET)
                return take_target(reading, name, value);
        if (place == DISK)
                take_disk(reading, name, value);
        if (place == DRIVER)
                take_driver(reading, name, value);
        if (place == ENCRYPTION || place == SECRET)
                take_encryption(reading, place, name, value);
        return 0;
}

static int read_attributes(struct reading *reading, enum place place, struct wla_error *err) {
        const char *name;
        const char *value;

        while (next_attribute(reading))
                if (read_attribute(reading, &name, &value, err) < 0 ||
                    take_attribute(reading, place, name, value, err) < 0)
                        return -1;
        return 0;
}

/* Nova keeps the root disk in a directory that is named after the instance, which is the domain. */
static bool keep_nova_disk(struct reading *reading) {
        const struct open_disk *disk = &reading->disk;
        struct nova_instance *nova = &reading->facts->domain.nova;
        const char *slash = strrchr(disk->file, '/');

        if (!disk->is_file || !disk->is_disk || !disk->has_target || !slash ||
            strcmp(slash, "/disk") != 0 || nova->disk[0] != '\0')
                return false;
        memcpy(nova->disk, disk->file, sizeof(nova->disk));
        memcpy(nova->target, disk->ours.target, sizeof(nova->target));
        nova->image_below = disk->ours.image_below;
        nova->below = disk->ours.below;
        return true;
}

static int fail_image_below(struct wla_error *err) {
        return wla_fail(err, WLA_E_INPUT, "an image of wlagent is below a disk that is not");
}

static void keep_encrypted(struct reading *reading) {
        struct open_disk *disk = &reading->disk;
        struct domain_facts *facts = reading->facts;

        if (!disk->is_encrypted || !disk->has_target || facts->encrypted_count == DOMAIN_DISKS_MAX)
                return;
        memcpy(disk->encrypted.target, disk->ours.target, sizeof(disk->encrypted.target));
        facts->encrypted[facts->encrypted_count++] = disk->encrypted;
}

static int end_disk(struct reading *reading, struct wla_error *err) {
        const struct open_disk *disk = &reading->disk;
        struct domain_facts *facts = reading->facts;

        keep_encrypted(reading);
        bool is_nova = keep_nova_disk(reading);
        if (!disk->is_ours && !is_nova && disk->ours.image_below)
                return fail_image_below(err);
        if (!disk->is_ours)
                return 0;
        if (!disk->has_target)
                return wla_fail(err, WLA_E_INPUT,
                                "a disk with a volume of wlagent has no target that is known");
        if (facts->disk_count == DOMAIN_DISKS_MAX)
                return wla_fail(err, WLA_E_INPUT, "more than %u disks with volumes of wlagent",
                                DOMAIN_DISKS_MAX);
        facts->disks[facts->disk_count++] = disk->ours;
        return 0;
}

static int start_element(struct reading *reading, struct wla_error *err) {
        int depth = xmlTextReaderDepth(reading->reader);

        if (depth < 0 || depth >= (int)DOMAIN_DEPTH_MAX)
                return wla_fail(err, WLA_E_INPUT, "elements are nested deeper than %u",
                                DOMAIN_DEPTH_MAX);

        enum place parent = depth == 0 ? DOCUMENT : reading->places[depth - 1];
        enum place place;
        bool repeats;
        if (find_place(reading, parent, &place, &repeats, err) < 0)
                return -1;
        if (depth > 0 && !repeats && reading->seen[depth - 1] & UINT32_C(1) << place)
                return wla_fail(err, WLA_E_INPUT, "<%s> is there twice", place_name(place));
        if (depth > 0)
                reading->seen[depth - 1] |= UINT32_C(1) << place;

        reading->places[depth] = place;
        reading->seen[depth] = 0;
        if (reading->identity_only)
                return 0;
        if (place == PROTECTED)
                reading->facts->is_protected = true;
        if (place == INSTANCE)
                reading->facts->domain.nova.present = true;
        if (place == DISK)
                reading->disk = (struct open_disk){.is_disk = true};
        if (place == ENCRYPTION)
                reading->disk.is_encrypted = true;
        if (place == SECRET)
                reading->disk.encrypted.secrets++;
        if (place == FORMER)
                return 0;
        return place == LINE || place == SECRET_LINE ? read_line(reading, place, err)
                                                     : read_attributes(reading, place, err);
}

/* A name is for messages: what does not fit or cannot be printed is left out. */
static void keep_name(struct domain_facts *facts, const char *text) {
        size_t used = 0;

        for (; *text && used < DOMAIN_NAME_SIZE - 1; text++)
                facts->domain.name[used++] = (unsigned char)*text < ' ' || *text == 0x7f ? '?'
                                                                                         : *text;
        facts->domain.name[used] = '\0';
        facts->has_name = true;
}

static int take_text(struct reading *reading, struct wla_error *err) {
        int depth = xmlTextReaderDepth(reading->reader);
        enum place place = reading->places[depth - 1];
        struct domain_facts *facts = reading->facts;

        if (place == PROTECTED || place == LINE || place == SECRET_LINE)
                return wla_fail(err, WLA_E_INPUT, "text in our metadata element");
        if (place != UUID && place != NAME)
                return 0;

        const char *text = reader_text(xmlTextReaderConstValue(reading->reader));
        if (!text)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (place == UUID ? facts->has_uuid : facts->has_name)
                return wla_fail(err, WLA_E_INPUT, "<%s> comes in pieces", place_name(place));
        if (place == NAME) {
                keep_name(facts, text);
                return 0;
        }
        if (uuid_parse(text, strlen(text), &facts->domain.uuid, err) < 0)
                return wla_wrap(err, "<uuid>");
        facts->has_uuid = true;
        return 0;
}

static int take_node(struct reading *reading, struct wla_error *err) {
        int depth = xmlTextReaderDepth(reading->reader);

        switch (xmlTextReaderNodeType(reading->reader)) {
        case XML_READER_TYPE_ELEMENT:
                if (start_element(reading, err) < 0)
                        return -1;
                if (xmlTextReaderIsEmptyElement(reading->reader) != 1 ||
                    reading->places[depth] != DISK)
                        return 0;
                return reading->identity_only ? 0 : end_disk(reading, err);
        case XML_READER_TYPE_END_ELEMENT:
                if (reading->places[depth] != DISK || reading->identity_only)
                        return 0;
                return end_disk(reading, err);
        case XML_READER_TYPE_TEXT:
        case XML_READER_TYPE_CDATA:
                return take_text(reading, err);
        case XML_READER_TYPE_ENTITY:
        case XML_READER_TYPE_ENTITY_REFERENCE:
        case XML_READER_TYPE_DOCUMENT_TYPE:
                return wla_fail(err, WLA_E_INPUT, "an entity, which no domain definition has");
        default:
                return 0;
        }
}

static int read_nodes(struct reading *reading, struct wla_error *err) {
        int outcome;

        while ((outcome = xmlTextReaderRead(reading->reader)) == 1)
                if (take_node(reading, err) < 0)
                        return -1;
        if (outcome < 0)
                return wla_fail(err, WLA_E_INPUT, "it is not well-formed XML");
        return 0;
}

static int judge_nova(const struct reading *reading, struct wla_error *err) {
        struct domain *domain = &reading->facts->domain;
        struct nova_instance *nova = &domain->nova;
        size_t tail = strlen("/disk");
        size_t size = strlen(nova->disk);
        size_t parent = UUID_TEXT_SIZE; /* "/" and the UUID */

        if (nova->present && reading->root_is_image)
                nova->image = reading->root_image;
        if (!nova->present || size < parent + tail || nova->disk[size - tail - parent] != '/' ||
            memcmp(nova->disk + size - tail - parent + 1, domain->uuid.text, parent - 1) != 0) {
                nova->disk[0] = '\0';
                nova->target[0] = '\0';
                if (nova->image_below)
                        return fail_image_below(err);
        }
        return 0;
}

int domain_xml_read(const char *xml, size_t size, bool identity_only, struct domain_facts *facts,
                    struct wla_error *err) {
        struct reading reading = {.facts = facts, .identity_only = identity_only};

        xml_memory_begin();
        xmlSetStructuredErrorFunc(NULL, ignore_fault);
        xmlSetGenericErrorFunc(NULL, ignore_message);
        reading.reader = xmlReaderForMemory(xml, (int)size, NULL, "UTF-8",
                                            XML_PARSE_NONET | XML_PARSE_NOERROR |
                                                    XML_PARSE_NOWARNING);
        if (!reading.reader)
                return wla_fail(err, WLA_E_BUSY, "out of memory");

        int outcome = read_nodes(&reading, err);
        xmlFreeTextReader(reading.reader);
        /* libxml2 keeps the last fault of a thread, with a piece of the text. */
        xmlResetLastError();
        /* Then something may be missing from what was read. */
        if (xml_memory_failed())
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        return outcome == 0 ? judge_nova(&reading, err) : outcome;
}
