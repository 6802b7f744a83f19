/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/domain.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "vm/domain_facts.h"
#include "vm/xml_scan.h"

static const char *const mode_names[] = {
        [DISK_LAYER] = "layer", [DISK_DIRECT] = "direct", [DISK_EPHEMERAL] = "ephemeral",
        [DISK_NOVA] = "nova",   [DISK_SECRET] = "secret",
};

static const char hint_protect[] = "run 'wlagent vm protect', which writes both";
static const char hint_secret[] =
        "write <encryption format='luks'> with one <secret uuid=>; 'virsh edit' "
        "does";
static const char hint_unprotect[] = "run 'wlagent vm protect' or 'wlagent vm unprotect'";

const char *disk_mode_name(enum disk_mode mode) {
        return mode_names[mode];
}

int disk_mode_parse(const char *text, enum disk_mode *ret, struct wla_error *err) {
        for (enum disk_mode mode = 0; mode < DISK_NOVA; mode++)
                if (strcmp(text, mode_names[mode]) == 0) {
                        *ret = mode;
                        return 0;
                }
        return wla_fail(err, WLA_E_INPUT, "the mode is none of layer, direct and ephemeral");
}

static bool component_valid(const char *component, size_t size) {
        if (size == 0 || (size == 1 && component[0] == '.') ||
            (size == 2 && memcmp(component, "..", 2) == 0))
                return false;
        for (size_t i = 0; i < size; i++)
                if ((unsigned char)component[i] < ' ' || component[i] == 0x7f)
                        return false;
        return true;
}

bool disk_path_valid(const char *path, size_t size) {
        if (size < 2 || size >= VOLUMED_PATH_SIZE || path[0] != '/')
                return false;

        for (size_t at = 1; at <= size;) {
                const char *slash = memchr(path + at, '/', size - at);
                size_t length = slash ? (size_t)(slash - path) - at : size - at;

                if (!component_valid(path + at, length))
                        return false;
                at += length + 1;
        }
        return true;
}

static const struct domain_disk *find_disk(const struct domain_facts *facts, const char *target) {
        for (size_t i = 0; i < facts->disk_count; i++)
                if (strcmp(facts->disks[i].target, target) == 0)
                        return &facts->disks[i];
        return NULL;
}

static const struct protected_disk *find_line(const struct domain *domain, const char *target) {
        for (size_t i = 0; i < domain->disk_count; i++)
                if (strcmp(domain->disks[i].target, target) == 0)
                        return &domain->disks[i];
        return NULL;
}

static int judge_format(const struct domain_disk *disk, struct protected_disk *line,
                        struct wla_error *err) {
        if (strcmp(disk->format, image_content_name(IMAGE_CONTENT_QCOW2)) == 0)
                line->format = IMAGE_CONTENT_QCOW2;
        else if (disk->format[0] == '\0' ||
                 strcmp(disk->format, image_content_name(IMAGE_CONTENT_RAW)) == 0)
                line->format = IMAGE_CONTENT_RAW;
        else
                return wla_fail_hint(err, WLA_E_INPUT, hint_protect,
                                     "disk %s: the driver's type is neither raw nor qcow2",
                                     line->target);

        if (line->mode != DISK_DIRECT && line->format != IMAGE_CONTENT_QCOW2)
                return wla_fail_hint(err, WLA_E_INPUT, hint_protect,
                                     "disk %s: in mode %s the driver's type has to be qcow2",
                                     line->target, disk_mode_name(line->mode));
        return 0;
}

static int judge_line(const struct domain_facts *facts, struct protected_disk *line,
                      struct wla_error *err) {
        const struct domain_disk *disk = find_disk(facts, line->target);
        struct volume_name name = {.kind = VOLUME_DISK, .uuid = facts->domain.uuid};
        char expected[VOLUME_NAME_SIZE];

        memcpy(name.target, line->target, sizeof(name.target));
        volume_name_write(&name, expected);
        if (!disk || strcmp(disk->device, expected) != 0)
                return wla_fail_hint(err, WLA_E_INPUT, hint_protect,
                                     "disk %s is protected, but its source is not %s%s",
                                     line->target, VOLUME_DEVICE_ROOT, expected);
        if (!disk->block)
                return wla_fail_hint(err, WLA_E_INPUT, hint_protect,
                                     "disk %s: its type has to be block", line->target);
        if (disk->image_below && line->mode == DISK_DIRECT)
                return wla_fail_hint(err, WLA_E_INPUT, hint_protect,
                                     "disk %s: in mode direct there is no image below it",
                                     line->target);
        line->keeps_places = disk->keeps_places;
        return judge_format(disk, line, err);
}

static const struct encrypted_disk *find_encrypted(const struct domain_facts *facts,
                                                   const char *target) {
        for (size_t i = 0; i < facts->encrypted_count; i++)
                if (strcmp(facts->encrypted[i].target, target) == 0)
                        return &facts->encrypted[i];
        return NULL;
}

static int judge_secret(const struct domain_facts *facts, const struct protected_disk *line,
                        struct wla_error *err) {
        const struct encrypted_disk *disk = find_encrypted(facts, line->target);

        if (!disk)
                return wla_fail_hint(err, WLA_E_INPUT, hint_unprotect,
                                     "disk %s is to have a secret, but it has no <encryption>",
                                     line->target);
        if (!disk->luks)
                return wla_fail_hint(err, WLA_E_INPUT, hint_secret,
                                     "disk %s: the format of its <encryption> is not luks",
                                     line->target);
        if (disk->secrets != 1 || !disk->named_by_uuid)
                return wla_fail_hint(err, WLA_E_INPUT, hint_secret,
                                     "disk %s: its <encryption> does not name one secret by UUID",
                                     line->target);
        if (!uuid_equal(&disk->secret, &line->secret))
                return wla_fail_hint(err, WLA_E_INPUT, hint_protect,
                                     "disk %s: its <encryption> names another secret than the "
                                     "metadata",
                                     line->target);

        for (size_t i = 0; i < facts->domain.disk_count; i++) {
                const struct protected_disk *other = &facts->domain.disks[i];

                if (other->mode == DISK_SECRET && uuid_equal(&other->secret, &line->secret) &&
                    !key_id_equal(&other->key_id, &line->key_id))
                        return wla_fail_hint(err, WLA_E_INPUT, hint_protect,
                                             "disks %s and %s have one secret, but two keys",
                                             other->target, line->target);
        }
        return 0;
}

static int judge_disks(struct domain_facts *facts, struct wla_error *err) {
        struct domain *domain = &facts->domain;

        for (size_t i = 0; i < domain->disk_count; i++) {
                if (find_line(domain, domain->disks[i].target) != &domain->disks[i])
                        return wla_fail_hint(err, WLA_E_INPUT, hint_protect,
                                             "disk %s is protected twice", domain->disks[i].target);
                if (domain->disks[i].mode == DISK_SECRET
                            ? judge_secret(facts, &domain->disks[i], err) < 0
                            : judge_line(facts, &domain->disks[i], err) < 0)
                        return -1;
        }

        for (size_t i = 0; i < facts->disk_count; i++) {
                if (find_disk(facts, facts->disks[i].target) != &facts->disks[i])
                        return wla_fail(err, WLA_E_INPUT, "disk %s is there twice",
                                        facts->disks[i].target);
                const struct protected_disk *line = find_line(domain, facts->disks[i].target);
                if (!line || line->mode == DISK_SECRET)
                        return wla_fail_hint(err, WLA_E_INPUT, hint_unprotect,
                                             "disk %s has a volume of wlagent as its source, but "
                                             "the metadata do not protect it",
                                             facts->disks[i].target);
        }

        if (facts->is_protected && domain->disk_count == 0)
                return wla_fail_hint(err, WLA_E_INPUT, hint_unprotect,
                                     "the metadata protect no disk");
        return 0;
}

static int read_domain(const char *xml, size_t size, bool identity_only, struct domain *ret,
                       struct wla_error *err) {
        if (size == 0 || size > DOMAIN_XML_MAX)
                return wla_fail(err, WLA_E_INPUT, "%zu bytes are no domain definition", size);
        if (xml_scan(xml, size, err) < 0)
                return -1;

        _cleanup_free_ struct domain_facts *facts = calloc(1, sizeof(*facts));
        if (!facts)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (domain_xml_read(xml, size, identity_only, facts, err) < 0)
                return -1;
        if (!facts->has_uuid)
                return wla_fail(err, WLA_E_INPUT, "<uuid> is missing");
        if (!identity_only && judge_disks(facts, err) < 0)
                return -1;

        *ret = facts->domain;
        return 0;
}

int domain_parse(const char *xml, size_t size, struct domain *ret, struct wla_error *err) {
        if (read_domain(xml, size, /* identity_only= */ false, ret, err) < 0)
                return wla_wrap(err, "the domain's definition");
        return 0;
}

int domain_identify(const char *xml, size_t size, struct domain *ret, struct wla_error *err) {
        if (read_domain(xml, size, /* identity_only= */ true, ret, err) < 0)
                return wla_wrap(err, "the domain's definition");
        return 0;
}
